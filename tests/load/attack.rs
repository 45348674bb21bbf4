//! The attackers. Each does one thing over and over, at its own pace, from an address of its own, and
//! notes what became of it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use crate::guesses::{Known, asks_for_bearer};
use crate::honest::create_source;
use waystation_testing::connection::{CHUNKED, head};
use waystation_testing::dice::Dice;
use waystation_testing::line::{Line, Target};
use waystation_testing::{Source, archive};

pub(crate) const SLOW_UPLOADS: u32 = 1_000;
pub(crate) const SLOW_READERS: u32 = 1_000;
/// How many connections the victim lets an address have.
pub(crate) const CONNECTIONS_PER_ADDRESS: u32 = 400;
/// More than is read in a soak of an hour.
const SLOW_DOWNLOAD_BYTES: usize = 64 * 1024 * 1024;
const SECOND: Duration = Duration::from_secs(1);
/// What a slow upload sends each second, and a slow reader takes. The server's system asks for more
/// only when 64 KiB have gone: a reader that takes longer for that than the idle timeout is given up.
const SENT_BYTES: usize = 2 * 1024;
const TAKEN_BYTES: usize = 16 * 1024;
/// How many of each kind are silent, or broken in the middle.
const BROKEN: usize = 100;
/// More than one address may have.
const CROWD: u32 = CONNECTIONS_PER_ADDRESS + 100;
/// How many requests are sent before the answer to the first of them is read.
const PIPELINED: u64 = 48;

/// The last numbers of the attackers' addresses. No address has more connections than the victim lets
/// it have, except the crowd's.
mod hosts {
    use std::ops::Range;

    pub(super) const UPLOADS: Range<u8> = 2..6;
    pub(super) const READERS: Range<u8> = 6..10;
    pub(super) const SILENT: u8 = 10;
    pub(super) const CROWD: u8 = 11;
    pub(super) const DROPS: u8 = 12;
    pub(super) const STOPS: u8 = 13;
    pub(super) const RESETS: u8 = 14;
    pub(super) const GUESSES: u8 = 15;
    pub(super) const SMUGGLERS: u8 = 16;
}

/// What became of what the attackers did.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<BTreeMap<String, u64>>>);

impl Tally {
    fn note(&self, what: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(what.to_owned()).or_default() += 1;
    }

    pub(crate) fn of(&self, what: &str) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(what).copied().unwrap_or_default()
    }

    /// All of it, a line each.
    pub(crate) fn text(&self) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = counts
            .iter()
            .map(|(what, count)| format!("{count:>9} {what}\n"));
        lines.collect()
    }
}

/// An attack under way. It ends when it is dropped.
pub(crate) struct Attack {
    pub(crate) tally: Tally,
    runtime: Option<Runtime>,
}

impl Drop for Attack {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Who attacks, and whom.
#[derive(Clone)]
struct Attackers {
    target: Target,
    tally: Tally,
    /// So many handshakes at once: the system's queue has an end.
    doors: Arc<Semaphore>,
}

impl Attack {
    /// Starts all of it. Each attacker makes so many guesses a second.
    pub(crate) fn start(target: &Target, api_token: &str, guesses_per_second: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .on_thread_start(yield_to_all_others)
            .enable_all()
            .build()
            .unwrap();
        let tally = Tally::default();
        let attackers = Attackers {
            target: target.clone(),
            tally: tally.clone(),
            doors: Arc::new(Semaphore::new(64)),
        };
        let (sources, stored, known) = runtime.block_on(attackers.prepare(api_token));
        let _within = runtime.enter();
        attackers.start_slow_ones(&sources, &stored);
        attackers.start_broken_ones(&sources);
        attackers.start_guesses(&known, guesses_per_second);
        Self {
            tally,
            runtime: Some(runtime),
        }
    }
}

/// The attackers' own work would be done on machines of their own: whoever else has something to do on
/// this one goes first.
fn yield_to_all_others() {
    // Whoever began at the lowest priority stays there.
    let _ = rustix::process::nice(19);
}

impl Attackers {
    /// Even attackers may hold links: one to upload for each slow upload, and one to download.
    async fn prepare(&self, api_token: &str) -> (Vec<Source>, Source, Known) {
        let bearer = format!("Authorization: Bearer {api_token}");
        let mut line = self.target.open(hosts::SILENT).await.unwrap();
        let mut sources = Vec::new();
        for _ in 0..SLOW_UPLOADS {
            sources.push(create_source(&mut line, &bearer).await);
        }
        let stored = create_source(&mut line, &bearer).await;
        let length = format!("Content-Length: {SLOW_DOWNLOAD_BYTES}");
        let put = head("PUT", &stored.upload_path(), &[&length]);
        line.send(put).await.unwrap();
        line.send(archive(SLOW_DOWNLOAD_BYTES, 3)).await.unwrap();
        assert_eq!(line.next_reply().await.unwrap().status, 200);
        line.send(asks_for_bearer(api_token)).await.unwrap();
        let known = Known::of(&stored, api_token, &line.next_reply().await.unwrap());
        (sources, stored, known)
    }

    /// Starts one of many alike. They begin one after the other, so that their timeouts do not all end
    /// in the same instant: the handshakes that follow would be a storm of the test's own making.
    fn spawn_after<F>(&self, pause: Duration, attacker: impl FnOnce(Self) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let it = self.clone();
        let begins_at = Instant::now() + pause;
        tokio::spawn(async move {
            sleep_until(begins_at).await;
            attacker(it).await;
        });
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(&self, attacker: impl FnOnce(Self) -> F) {
        tokio::spawn(attacker(self.clone()));
    }

    async fn open(&self, host: u8) -> io::Result<Line> {
        let _door = self.doors.acquire().await.unwrap();
        self.target.open(host).await
    }

    fn start_slow_ones(&self, sources: &[Source], stored: &Source) {
        for (source, host) in sources.iter().zip(hosts::UPLOADS.cycle()) {
            let path = source.upload_path();
            self.spawn(|it| async move { it.upload_slowly(host, &path).await });
        }
        for (_, host) in (0..SLOW_READERS).zip(hosts::READERS.cycle()) {
            let path = stored.download_path();
            self.spawn(|it| async move { it.read_slowly(host, &path).await });
        }
    }

    fn start_broken_ones(&self, sources: &[Source]) {
        for (number, source) in (0..).zip(&sources[..BROKEN]) {
            let path = source.upload_path();
            let pause = SECOND / 20 * number;
            self.spawn_after(pause, |it| async move { it.say_nothing().await });
            self.spawn_after(
                pause,
                |it| async move { it.send_a_head_drop_by_drop().await },
            );
            self.spawn_after(pause, |it| async move { it.stop_in_a_body(path).await });
        }
        let path = sources[0].upload_path();
        self.spawn(|it| async move { it.reset_in_a_body(&path).await });
        for number in 0..CROWD {
            let pause = SECOND / 100 * number;
            self.spawn_after(pause, |it| async move { it.crowd().await });
        }
        let path = sources[0].upload_path();
        self.spawn(|it| async move { it.smuggle(&path).await });
    }

    fn start_guesses(&self, known: &Known, guesses_per_second: u64) {
        for seed in 1..=2 {
            let known = known.clone();
            self.spawn(
                move |it| async move { it.guess(&known, seed, guesses_per_second / 2).await },
            );
        }
    }

    /// Opens connections one after the other, each at the next tick at the earliest. Notes what becomes of
    /// each, and how often.
    async fn repeat<F, T>(&self, host: u8, period: Duration, use_up: impl Fn(Line) -> F)
    where
        F: Future<Output = T>,
        T: fmt::Display,
    {
        let mut ticks = every(period);
        loop {
            ticks.tick().await;
            if let Ok(line) = self.open(host).await {
                self.tally.note(&use_up(line).await.to_string());
            }
        }
    }

    async fn upload_slowly(&self, host: u8, path: &str) {
        let head = head("PUT", path, &[CHUNKED]);
        let chunk = format!("{SENT_BYTES:x}\r\n{}\r\n", "x".repeat(SENT_BYTES));
        let send = async |mut line: Line| {
            let mut steps = Steps::new();
            let _ = line.send(&head).await;
            while line.send(&chunk).await.is_ok() {
                steps.next().await;
            }
            steps.outcome("slow uploads that ended")
        };
        self.repeat(host, SECOND, send).await;
    }

    async fn read_slowly(&self, host: u8, path: &str) {
        loop {
            let door = self.doors.acquire().await.unwrap();
            let opened = self.target.open_narrow(host).await;
            drop(door);
            if let Ok(mut line) = opened {
                let mut steps = Steps::new();
                let _ = line.send(head("GET", path, &[])).await;
                while line.take(TAKEN_BYTES).await.is_ok_and(|bytes| bytes > 0) {
                    steps.next().await;
                }
                self.tally.note(steps.outcome("slow readers that ended"));
            }
            sleep(SECOND).await;
        }
    }

    async fn say_nothing(&self) {
        let listen = async |line: Line| match line.into_rest().await.as_slice() {
            [] => "silent connections that were closed",
            _ => "silent connections that were answered",
        };
        self.repeat(hosts::SILENT, SECOND, listen).await;
    }

    async fn send_a_head_drop_by_drop(&self) {
        let head = head("GET", "/v1/regions", &["X-Filler: drop by drop"]);
        let send = async |mut line: Line| {
            for byte in head.bytes() {
                let _ = line.send([byte]).await;
                if let Ok(answer) = timeout(SECOND, line.next_reply()).await {
                    let status = answer.map_or(0, |reply| reply.status);
                    return format!("heads drop by drop: {status}");
                }
            }
            "heads drop by drop that were taken".to_owned()
        };
        self.repeat(hosts::DROPS, SECOND, send).await;
    }

    async fn stop_in_a_body(&self, path: String) {
        let stop = async |mut line: Line| {
            let _ = line.send(begin_upload(&path)).await;
            let status = line.next_reply().await.map_or(0, |reply| reply.status);
            format!("bodies that stopped: {status}")
        };
        self.repeat(hosts::STOPS, SECOND, stop).await;
    }

    async fn reset_in_a_body(&self, path: &str) {
        let reset = async |mut line: Line| {
            let _ = line.send(begin_upload(path)).await;
            line.reset();
            "resets in a body"
        };
        self.repeat(hosts::RESETS, SECOND / 10, reset).await;
    }

    /// One of more connections than an address may have, kept for as long as it can.
    async fn crowd(&self) {
        let mut ticks = every(SECOND);
        loop {
            ticks.tick().await;
            let Ok(mut stream) = self.target.connect(hosts::CROWD).await else {
                continue;
            };
            if timeout(SECOND, stream.read_u8()).await.is_ok() {
                self.tally
                    .note("connections too many that were closed at once");
            } else {
                let _ = stream.read_u8().await;
            }
        }
    }

    /// One shape of many: `tests/process/smuggling.rs` has all of them.
    async fn smuggle(&self, path: &str) {
        let odd = ["Transfer-Encoding: identity, chunked"];
        let smuggled = head("GET", "/v1/regions", &["X-Request-Id: smuggled"]);
        let requests = head("PUT", path, &odd) + "a\r\nan archive\r\n0\r\n\r\n" + &smuggled;
        let smuggle = async |mut line: Line| {
            let _ = line.send(&requests).await;
            let text = String::from_utf8_lossy(&line.into_rest().await).into_owned();
            if text.starts_with("HTTP/1.1 400") && !text.contains("smuggled") {
                "smugglers that were refused"
            } else {
                "smugglers that were not refused"
            }
        };
        self.repeat(hosts::SMUGGLERS, SECOND / 10, smuggle).await;
    }

    async fn guess(&self, known: &Known, seed: u64, per_second: u64) {
        let random = Mutex::new(Dice::of(seed));
        let pause = SECOND * u32::try_from(PIPELINED).unwrap() / u32::try_from(per_second).unwrap();
        let guess = async |mut line: Line| {
            let mut ticks = every(pause);
            let mut slept_at = Instant::now();
            // On a busy machine it may sleep for longer than the server keeps a silent connection.
            while slept_at.elapsed() < SECOND {
                let guesses = known.guesses(PIPELINED, &mut random.lock().unwrap());
                if self.see_refused(&mut line, guesses).await.is_err() {
                    return "guesses cut off";
                }
                slept_at = Instant::now();
                ticks.tick().await;
            }
            "guessers that were late themselves"
        };
        self.repeat(hosts::GUESSES, pause, guess).await;
    }

    async fn see_refused(&self, line: &mut Line, guesses: String) -> io::Result<()> {
        line.send(guesses).await?;
        for _ in 0..PIPELINED {
            let status = line.next_reply().await?.status;
            self.tally.note("guesses");
            if !matches!(status, 401 | 403 | 429) {
                self.tally.note("guesses that were not refused");
            }
        }
        Ok(())
    }
}

/// All but the last byte.
fn begin_upload(path: &str) -> String {
    head("PUT", path, &["Content-Length: 11"]) + "an archive"
}

/// One step a second. On a busy machine an attacker may be slower than it means to be, and is then given up
/// with good reason.
struct Steps {
    ticks: Interval,
    last_at: Instant,
    was_late: bool,
}

impl Steps {
    fn new() -> Self {
        Self {
            ticks: every(SECOND),
            last_at: Instant::now(),
            was_late: false,
        }
    }

    async fn next(&mut self) {
        self.ticks.tick().await;
        self.was_late |= self.last_at.elapsed() > 2 * SECOND;
        self.last_at = Instant::now();
    }

    fn outcome(&self, what: &'static str) -> &'static str {
        if self.was_late {
            "slow ones that were too late themselves"
        } else {
            what
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
