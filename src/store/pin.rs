//! A pin: what keeps an archive past the expiry of its source, until a deadline. Pure.
//!
//! Its name says until when it holds, so that a sweep sees that in the list that it reads anyway. Whoever
//! put it takes it away when they are done; if they are killed, it ends by itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

const PREFIX: &str = "pin-";

/// The right of its holder to an archive until a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pin {
    until: Timestamp,
    /// Tells it from those of others.
    random: [u8; 8],
}

/// A text that is no pin in its one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a pin: it is pin-, 15 digits, a hyphen, and 16 hex digits in lower case")]
pub struct NotAPin;

impl Pin {
    pub(super) fn until(until: Timestamp) -> Self {
        Self {
            until,
            random: rand::random(),
        }
    }

    /// Does it hold nothing any more at `now`?
    pub(super) fn is_over(self, now: Timestamp) -> bool {
        self.until <= now
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (until_ms, random) = (self.until.as_ms(), hex::encode(self.random));
        write!(f, "{PREFIX}{until_ms:015}-{random}")
    }
}

impl FromStr for Pin {
    type Err = NotAPin;

    fn from_str(text: &str) -> Result<Self, NotAPin> {
        let parse = || {
            let (until, random) = text.strip_prefix(PREFIX)?.split_once('-')?;
            Some(Self {
                until: Timestamp::from_ms(until.parse().ok()?),
                random: hex::decode(random).ok()?.try_into().ok()?,
            })
        };
        parse().filter(|pin| pin.to_string() == text).ok_or(NotAPin)
    }
}

impl From<Pin> for String {
    fn from(pin: Pin) -> Self {
        pin.to_string()
    }
}

impl TryFrom<String> for Pin {
    type Error = NotAPin;

    fn try_from(text: String) -> Result<Self, NotAPin> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_back_and_no_other_spelling_of_it() {
        let pin = Pin {
            until: Timestamp::from_ms(1_700_000_900_000),
            random: [0xab; 8],
        };
        let text = "pin-001700000900000-abababababababab";
        assert_eq!(pin.to_string(), text);
        assert_eq!(text.parse(), Ok(pin));
        for other in [
            "",
            "pin-001700000900000",
            "pin-001700000900000-ABABABABABABABAB",
            "pin-0001700000900000-abababababababab",
            "pin-+01700000900000-abababababababab",
            "pin-999999999999999-abababababababab",
            "pin-001700000900000-abababababababab-",
            "lease-001700000900000-abababababababab",
        ] {
            assert_eq!(other.parse::<Pin>(), Err(NotAPin), "{other}");
        }
    }

    #[test]
    fn a_pin_holds_until_its_deadline_and_not_at_it() {
        let pin = Pin::until(Timestamp::from_ms(1_000));
        assert!(!pin.is_over(Timestamp::from_ms(999)));
        assert!(pin.is_over(Timestamp::from_ms(1_000)));
    }
}
