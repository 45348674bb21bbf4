//! The threads that serve connections: one for each core, each with a runtime of its own.
//!
//! A connection stays on the thread it was given to, so that answering a small request wakes no other
//! thread and shares no queue with it. What may block runs elsewhere, as on any runtime.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle, available_parallelism};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// How long work that cannot be interrupted may hold up the end of a worker.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Where connections run. Dropped, it drops those that still run, and waits for that.
pub(super) struct Workers {
    workers: Vec<Worker>,
    /// What tells each to end when it is dropped, and the thread.
    threads: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

struct Worker {
    runtime: Handle,
    /// Shared by the connections of this worker: its references count them.
    connections: Arc<()>,
}

impl Workers {
    /// Starts one for each core.
    pub(super) fn start() -> io::Result<Self> {
        let mut started = Self {
            workers: Vec::new(),
            threads: Vec::new(),
        };
        for _ in 0..available_parallelism()?.get() {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let worker = Worker::on(runtime.handle().clone());
            let (stop, stopped) = oneshot::channel();
            let thread = thread::Builder::new()
                .name("worker".to_owned())
                .spawn(move || {
                    // That the sender is gone is the signal.
                    let _ = runtime.block_on(stopped);
                    runtime.shutdown_timeout(END_TIMEOUT);
                })?;
            started.workers.push(worker);
            started.threads.push((stop, thread));
        }
        Ok(started)
    }

    /// Only the runtime of the caller.
    pub(super) fn current() -> Self {
        Self {
            workers: vec![Worker::on(Handle::current())],
            threads: Vec::new(),
        }
    }

    /// Runs a connection to its end, on the worker that has the fewest.
    pub(super) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let connections_of = |worker: &&Worker| Arc::strong_count(&worker.connections);
        let worker = self.workers.iter().min_by_key(connections_of);
        let worker = worker.expect("there is at least one core");
        let counted = Arc::clone(&worker.connections);
        worker.runtime.spawn(async move {
            connection.await;
            drop(counted);
        });
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let (stops, threads): (Vec<_>, Vec<_>) = self.threads.drain(..).unzip();
        drop(stops);
        for thread in threads {
            // A panic of a connection ends that connection, and is in the log.
            let _ = thread.join();
        }
    }
}

impl Worker {
    fn on(runtime: Handle) -> Self {
        Self {
            runtime,
            connections: Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_connection_goes_to_the_worker_that_has_the_fewest() {
        let runtime = Handle::current();
        let workers = Workers {
            workers: vec![Worker::on(runtime.clone()), Worker::on(runtime)],
            threads: Vec::new(),
        };
        let counts = || {
            let count = |worker: &Worker| Arc::strong_count(&worker.connections) - 1;
            workers.workers.iter().map(count).collect::<Vec<_>>()
        };
        for expected in [[1, 0], [1, 1], [2, 1], [2, 2]] {
            workers.spawn(pending());
            assert_eq!(counts(), expected);
        }
    }

    #[test]
    fn connections_that_still_run_end_with_their_workers() {
        let workers = Workers::start().unwrap();
        let held = Arc::new(());
        let connection = Arc::clone(&held);
        workers.spawn(async move {
            pending::<()>().await;
            drop(connection);
        });
        drop(workers);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
