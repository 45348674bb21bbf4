//! How slow a client may be: silent for a while, or below a minimum rate for a longer one.
//!
//! Only the time spent waiting for the client counts. A slow store never makes a client look slow,
//! and no transfer has a limit on its whole duration but its source's expiry.

use std::time::Duration;

/// How long the rate is averaged over, so that a hiccup is forgiven.
pub const RATE_WINDOW: Duration = Duration::from_secs(30);

/// The slowest that a transfer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long nothing at all may move.
    pub idle_timeout: Duration,
    /// What has to move on average over [`RATE_WINDOW`], in bytes a second; 0 is no limit.
    pub min_bytes_per_second: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooSlow {
    #[error("nothing moved for {} s", idle_timeout.as_secs_f64())]
    Idle { idle_timeout: Duration },
    #[error("{bytes} bytes moved in {} s, and at least {min_bytes_per_second} bytes a second are needed", waited.as_secs())]
    BelowRate {
        bytes: u64,
        waited: Duration,
        min_bytes_per_second: u64,
    },
}

/// Measures one direction of one transfer against a [`Pace`].
#[derive(Debug)]
pub struct PaceMeter {
    pace: Pace,
    window_waited: Duration,
    window_bytes: u64,
}

impl PaceMeter {
    pub const fn new(pace: Pace) -> Self {
        Self {
            pace,
            window_waited: Duration::ZERO,
            window_bytes: 0,
        }
    }

    /// How long to wait for the client at most.
    pub const fn idle_timeout(&self) -> Duration {
        self.pace.idle_timeout
    }

    /// The client let the idle timeout pass.
    pub const fn idle(&self) -> TooSlow {
        TooSlow::Idle {
            idle_timeout: self.pace.idle_timeout,
        }
    }

    /// `bytes` moved after the client had been waited for.
    pub fn note(&mut self, bytes: usize, waited: Duration) -> Result<(), TooSlow> {
        self.window_bytes += bytes as u64;
        self.window_waited += waited;
        if self.window_waited < RATE_WINDOW {
            return Ok(());
        }
        let (moved, waited) = (self.window_bytes, self.window_waited);
        self.window_bytes = 0;
        self.window_waited = Duration::ZERO;
        let needed = self
            .pace
            .min_bytes_per_second
            .saturating_mul(waited.as_secs());
        if moved < needed {
            return Err(TooSlow::BelowRate {
                bytes: moved,
                waited,
                min_bytes_per_second: self.pace.min_bytes_per_second,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(min_bytes_per_second: u64) -> PaceMeter {
        PaceMeter::new(Pace {
            idle_timeout: Duration::from_mins(1),
            min_bytes_per_second,
        })
    }

    #[test]
    fn exactly_the_minimum_rate_is_enough_and_a_byte_less_is_not() {
        let window_bytes = 30 * 1024;
        assert_eq!(meter(1024).note(window_bytes, RATE_WINDOW), Ok(()));
        assert_eq!(
            meter(1024).note(window_bytes - 1, RATE_WINDOW),
            Err(TooSlow::BelowRate {
                bytes: window_bytes as u64 - 1,
                waited: RATE_WINDOW,
                min_bytes_per_second: 1024,
            })
        );
    }

    #[test]
    fn nothing_is_judged_before_the_window_is_full() {
        let mut meter = meter(1024);
        let almost = Duration::from_millis(29_999);
        assert_eq!(meter.note(1, almost), Ok(()));
        assert!(meter.note(1, Duration::from_millis(1)).is_err());
    }

    #[test]
    fn each_window_is_judged_alone() {
        let mut meter = meter(1024);
        assert_eq!(meter.note(1024 * 1024, RATE_WINDOW), Ok(()));
        assert!(meter.note(1, RATE_WINDOW).is_err());
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        assert_eq!(meter(0).note(0, RATE_WINDOW * 10), Ok(()));
    }
}
