//! What time it is: the only caller of the system's wall clock.
//!
//! Everything that expires asks a [`Clock`]; tests hand out a [`FakeClock`] and move it by hand, so
//! no test waits for time to pass.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// A wall-clock instant: milliseconds since the Unix epoch, which is as fine as the API speaks.
///
/// Its text form, also in JSON, is the platform's date format: `2015-01-13T09:20:31.123Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(u64);

/// How far apart the clocks of servers may be that take each other's links and bearers.
pub const CLOCK_SKEW: Duration = Duration::from_mins(5);

/// The last millisecond of the year 9999: the date format has four digits for the year.
const LAST_MS: u64 = 253_402_300_799_999;

impl Timestamp {
    /// The instant `ms` milliseconds after the epoch; later ones than the date format can say are
    /// brought down to its last.
    pub const fn from_ms(ms: u64) -> Self {
        Self(if ms < LAST_MS { ms } else { LAST_MS })
    }

    /// Milliseconds since the epoch.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_seconds(self) -> u64 {
        self.0 / 1000
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This instant moved on by `by`, in whole milliseconds.
    pub fn after(self, by: Duration) -> Self {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self::from_ms(self.0.saturating_add(by_ms))
    }

    /// The instant that is `by` earlier, in whole milliseconds.
    pub fn before(self, by: Duration) -> Self {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self::from_ms(self.0.saturating_sub(by_ms))
    }

    /// The same instant for the HTTP date library.
    pub fn as_system_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0)
    }
}

impl From<SystemTime> for Timestamp {
    /// Rounds down to the millisecond; what is before the epoch becomes the epoch.
    fn from(time: SystemTime) -> Self {
        Self(0).after(time.duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis(self.as_system_time()).fmt(f)
    }
}

impl From<Timestamp> for String {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.to_string()
    }
}

impl TryFrom<String> for Timestamp {
    type Error = humantime::TimestampError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        humantime::parse_rfc3339(&text).map(Self::from)
    }
}

#[derive(Clone, Debug)]
pub enum Clock {
    System,
    /// A clock that stands still until a test moves it.
    Fake(FakeClock),
}

/// How long [`Clock::wait_until`] trusts the timer before it looks at the wall clock again: the
/// wall clock may be set while it waits.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Clock {
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => SystemTime::now().into(),
            Self::Fake(fake) => *fake.now.borrow(),
        }
    }

    /// Returns once [`Clock::now`] has reached `when`.
    pub async fn wait_until(&self, when: Timestamp) {
        match self {
            Self::System => loop {
                let left = when.since(self.now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(LOOK_AGAIN)).await;
            },
            Self::Fake(fake) => {
                let mut now = fake.now.subscribe();
                now.wait_for(|now| *now >= when)
                    .await
                    .expect("this clock holds the sender");
            }
        }
    }
}

/// A clock for tests: all its clones show the same time.
#[derive(Clone, Debug)]
pub struct FakeClock {
    now: Arc<watch::Sender<Timestamp>>,
}

impl FakeClock {
    pub fn at(now: Timestamp) -> Self {
        Self {
            now: Arc::new(watch::Sender::new(now)),
        }
    }

    /// Sets the time, forwards or backwards, and wakes who waits for it.
    pub fn set(&self, now: Timestamp) {
        self.now.send_replace(now);
    }

    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = now.after(by));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_milliseconds_and_a_zone() {
        let timestamp = Timestamp::from_ms(1_421_140_831_123);
        assert_eq!(timestamp.to_string(), "2015-01-13T09:20:31.123Z");
        assert_eq!(
            Timestamp::from_ms(0).to_string(),
            "1970-01-01T00:00:00.000Z"
        );
    }

    #[test]
    fn the_last_instant_can_still_be_written() {
        assert_eq!(
            Timestamp::from_ms(u64::MAX).to_string(),
            "9999-12-31T23:59:59.999Z"
        );
    }

    #[test]
    fn json_keeps_an_instant_to_the_millisecond() {
        let timestamp = Timestamp::from_ms(1_421_140_831_120);
        let json = serde_json::to_string(&timestamp).unwrap();
        assert_eq!(json, r#""2015-01-13T09:20:31.120Z""#);
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), timestamp);
    }

    #[tokio::test]
    async fn a_fake_clock_wakes_those_that_wait_for_it() {
        let fake = FakeClock::at(Timestamp::from_ms(1_000));
        let clock = Clock::Fake(fake.clone());
        let wait = tokio::spawn(async move {
            clock.wait_until(Timestamp::from_ms(2_000)).await;
            clock.now()
        });
        fake.advance(Duration::from_secs(1));
        assert_eq!(wait.await.unwrap(), Timestamp::from_ms(2_000));
    }
}
