//! The threads that serve connections: one for each core, each with a runtime of its own.
//!
//! A connection stays on the thread it was given to, so that answering a small request wakes no other
//! thread and shares no queue with it. What may block is run elsewhere, as on any runtime.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, available_parallelism};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// How many threads that may block a worker has at most: enough to keep a device busy, few enough to
/// cost nothing where a thousand uploads begin at once.
const BLOCKING_THREADS: usize = 32;

/// Where the connections of one thread run, and how many they are.
#[derive(Clone, Debug)]
pub struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

impl Worker {
    /// One that runs connections on `runtime`.
    #[must_use]
    pub fn on(runtime: Handle) -> Self {
        Self {
            runtime,
            connections: Arc::default(),
        }
    }

    /// Runs a connection to its end.
    pub(super) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let counted = Counted::new(&self.connections);
        self.runtime.spawn(async move {
            connection.await;
            drop(counted);
        });
    }

    /// The one of several that has the fewest connections.
    pub(super) fn least_busy(workers: &[Self]) -> &Self {
        workers
            .iter()
            .min_by_key(|worker| worker.connections.load(Ordering::Relaxed))
            .expect("a server has at least one worker")
    }
}

/// A connection that counts until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(connections))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All workers of a server. Dropped, they end in the background.
#[derive(Debug)]
pub struct Workers(Vec<Running>);

#[derive(Debug)]
struct Running {
    worker: Worker,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Workers {
    /// Starts one for each core. When they are told to end, what they still have to do on threads
    /// that may block has until `end_timeout`.
    pub fn start(end_timeout: Duration) -> io::Result<Self> {
        let cores = available_parallelism()?.get();
        (0..cores)
            .map(|_| Running::start(end_timeout))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// What connections can be given to.
    #[must_use]
    pub fn all(&self) -> Vec<Worker> {
        self.0
            .iter()
            .map(|running| running.worker.clone())
            .collect()
    }

    /// Drops what they still serve, and waits for their end.
    pub fn finish(self) {
        let (stops, threads): (Vec<_>, Vec<_>) = self
            .0
            .into_iter()
            .map(|running| (running.stop, running.thread))
            .unzip();
        drop(stops);
        for thread in threads {
            // A panic of a connection ends that connection, and is in the log.
            let _ = thread.join();
        }
    }
}

impl Running {
    fn start(end_timeout: Duration) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()?;
        let worker = Worker::on(runtime.handle().clone());
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("worker".to_owned())
            .spawn(move || {
                // That the sender is gone is the signal.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_timeout(end_timeout);
            })?;
        Ok(Self {
            worker,
            stop,
            thread,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[test]
    fn a_connection_goes_to_the_worker_that_has_the_fewest() {
        let started = Workers::start(Duration::ZERO).unwrap();
        let workers = [started.all(), started.all()].concat();
        for _ in 0..2 * workers.len() {
            Worker::least_busy(&workers).spawn(pending());
        }
        let counts = |workers: &[Worker]| -> Vec<usize> {
            let count = |worker: &Worker| worker.connections.load(Ordering::Relaxed);
            workers.iter().map(count).collect()
        };
        let all_equal = counts(&workers).windows(2).all(|pair| pair[0] == pair[1]);
        assert!(all_equal, "{:?}", counts(&workers));
        started.finish();
        assert!(counts(&workers).iter().all(|count| *count == 0));
    }
}
