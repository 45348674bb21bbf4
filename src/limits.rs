//! How often one may call, and how much one may have at once: users by who they are, strangers by where
//! they come from.
//!
//! Memory is bounded: users are as many as were added, and the addresses of strangers fall into a fixed
//! number of slots, by a hash that nobody outside can predict. Two addresses in one slot share a quota,
//! which is rare, and only matters while one of them fails all the time. So do API tokens that were right.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

mod per_address;

pub use per_address::{AtOnceLimit, PerAddressLimit, Permit};

use crate::mutex::lock;
use per_address::network_of;

/// The period in which a quota is refilled.
pub const PERIOD: Duration = Duration::from_mins(1);
/// How many slots the addresses of strangers fall into.
pub const ADDRESS_SLOTS: u64 = 65_536;
/// How many slots API tokens that were right fall into. Of two in one slot the last is known.
const TOKEN_SLOTS: u64 = 65_536;
/// For how long it counts that an API token was right.
const RIGHT_FOR: Duration = Duration::from_hours(1);

/// What is left to a user after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub quota: u32,
    /// How many calls may follow at once.
    pub remaining: u32,
    /// After how long all of the quota is there again; if nothing is left, the next call.
    pub reset_after: Duration,
}

/// One called too often: nothing is left until the next call may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {} calls in a minute; the next may come in {:?}", .0.quota, .0.reset_after)]
pub struct TooMany(pub Allowance);

/// Counts calls for each key by the generic cell rate algorithm: a burst of the whole quota, which is
/// refilled evenly over a period. For each key it stores when the quota will be full again.
struct Counter<K> {
    quota: NonZeroU32,
    whole_at: Mutex<HashMap<K, Instant>>,
}

impl<K: Hash + Eq> Counter<K> {
    fn new(quota: NonZeroU32) -> Self {
        Self {
            quota,
            whole_at: Mutex::default(),
        }
    }

    fn count(&self, key: K) -> Result<Allowance, TooMany> {
        let now = Instant::now();
        let mut whole_at = lock(&self.whole_at);
        let whole_at = whole_at.entry(key).or_insert(now);
        let allowance = self.after_a_call(*whole_at, now)?;
        *whole_at = now + allowance.reset_after;
        Ok(allowance)
    }

    /// The same, but nothing is counted.
    fn peek(&self, key: &K) -> Result<Allowance, TooMany> {
        let now = Instant::now();
        let whole_at = lock(&self.whole_at).get(key).copied();
        self.after_a_call(whole_at.unwrap_or(now), now)
    }

    fn after_a_call(&self, whole_at: Instant, now: Instant) -> Result<Allowance, TooMany> {
        let quota = self.quota.get();
        let share = PERIOD / quota;
        let whole = share * quota;
        let spent = whole_at.saturating_duration_since(now) + share;
        if spent > whole {
            return Err(TooMany(Allowance {
                quota,
                remaining: 0,
                reset_after: spent.saturating_sub(whole),
            }));
        }
        let shares_spent = spent.as_nanos().div_ceil(share.as_nanos());
        Ok(Allowance {
            quota,
            remaining: quota - u32::try_from(shares_spent).expect("no more than the quota"),
            reset_after: spent,
        })
    }
}

/// Counts failed authentications, each in the slot of its address.
struct FailureLimiter {
    counter: Counter<u64>,
    /// When the next API token from an address that failed too often may be looked up.
    next_at: Mutex<HashMap<u64, Instant>>,
}

struct RecentSuccess {
    token: u64,
    user: Uuid,
    at: Instant,
}

impl FailureLimiter {
    fn new(quota: NonZeroU32) -> Self {
        Self {
            counter: Counter::new(quota),
            next_at: Mutex::default(),
        }
    }

    fn count(&self, slot: u64) -> Result<(), TooMany> {
        let counted = self.counter.count(slot);
        if let Err(TooMany(allowance)) = &counted {
            let next_at = Instant::now() + allowance.reset_after;
            lock(&self.next_at).insert(slot, next_at);
        }
        counted.map(drop)
    }

    fn admit(&self, slot: u64) -> Result<(), TooMany> {
        let now = Instant::now();
        let quota = self.counter.quota.get();
        let mut next_at = lock(&self.next_at);
        match next_at.get(&slot) {
            Some(next) if now < *next => {
                return Err(TooMany(Allowance {
                    quota,
                    remaining: 0,
                    reset_after: *next - now,
                }));
            }
            // This one is not counted yet: others that come with it wait for the next.
            Some(next) if now < *next + PERIOD => {
                next_at.insert(slot, now + PERIOD / quota);
            }
            Some(_) => drop(next_at.remove(&slot)),
            None => {}
        }
        Ok(())
    }
}

pub struct CallLimiter {
    users: Option<Counter<Uuid>>,
    failures: Option<FailureLimiter>,
    /// API tokens that were right, each in the slot of its hash.
    right: Mutex<HashMap<u64, RecentSuccess>>,
    /// Keyed anew at each start, so that nobody outside can predict a slot, or a text with the hash of
    /// another.
    hasher: RandomState,
}

impl CallLimiter {
    /// One that lets each user make `calls_per_minute`, and each address fail `failures_per_minute`
    /// times to say who it is; 0 is no limit.
    pub fn new(calls_per_minute: u32, failures_per_minute: u32) -> Self {
        Self {
            users: NonZeroU32::new(calls_per_minute).map(Counter::new),
            failures: NonZeroU32::new(failures_per_minute).map(FailureLimiter::new),
            right: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    /// Counts a call of `user`. What is left; nothing if there is no limit.
    pub fn count_call(&self, user: Uuid) -> Result<Option<Allowance>, TooMany> {
        self.users
            .as_ref()
            .map(|users| users.count(user))
            .transpose()
    }

    pub fn count_failure(&self, address: IpAddr) -> Result<(), TooMany> {
        match &self.failures {
            Some(failures) => failures.count(self.slot_of(address)),
            None => Ok(()),
        }
    }

    /// May the API token `text`, possibly a guess, be looked up? From an address that failed too often, one may each
    /// time that a failure is refilled, and those that were right within the last hour always may, so that users who
    /// share an address with an attacker keep working.
    pub fn admit_api_token(&self, address: IpAddr, text: &str) -> Result<(), TooMany> {
        match &self.failures {
            Some(failures) if self.user_of(text).is_none() => failures.admit(self.slot_of(address)),
            Some(_) | None => Ok(()),
        }
    }

    /// Has the user anything left whose API token `text` was a while ago? A call that will be refused need not
    /// cost the store a look.
    pub fn peek_call(&self, text: &str) -> Result<(), TooMany> {
        match (&self.users, self.user_of(text)) {
            (Some(users), Some(user)) => users.peek(&user).map(drop),
            _ => Ok(()),
        }
    }

    /// Remembers for an hour that the API token `text` was right, and whose it is.
    pub fn note_right_api_token(&self, text: &str, user: Uuid) {
        let token = self.hasher.hash_one(text);
        let at = Instant::now();
        lock(&self.right).insert(token % TOKEN_SLOTS, RecentSuccess { token, user, at });
    }

    fn user_of(&self, text: &str) -> Option<Uuid> {
        let token = self.hasher.hash_one(text);
        let right = lock(&self.right);
        let right = right.get(&(token % TOKEN_SLOTS))?;
        (right.token == token && right.at.elapsed() < RIGHT_FOR).then_some(right.user)
    }

    fn slot_of(&self, address: IpAddr) -> u64 {
        self.hasher.hash_one(network_of(address)) % ADDRESS_SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn past_the_limit_one_api_token_is_looked_up_each_time_a_failure_comes_back() {
        let limiter = CallLimiter::new(0, 2);
        let [stranger, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let admit = |address| limiter.admit_api_token(address, "a guess");
        for _ in 0..2 {
            assert!(admit(stranger).is_ok());
            limiter.count_failure(stranger).unwrap();
        }
        let refused = limiter.count_failure(stranger).unwrap_err();
        assert_eq!(admit(stranger), Err(refused));
        assert!(admit(other).is_ok());
        for _ in 0..3 {
            tokio::time::advance(PERIOD / 2).await;
            assert!(admit(stranger).is_ok());
            // Before that one has been counted.
            let refused = admit(stranger).unwrap_err();
            assert_eq!(refused.0.reset_after, PERIOD / 2);
        }
        tokio::time::advance(2 * PERIOD).await;
        for _ in 0..2 {
            assert!(admit(stranger).is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn past_the_limit_what_was_right_within_the_last_hour_is_looked_up() {
        let limiter = CallLimiter::new(0, 1);
        let address = IpAddr::from([192, 0, 2, 1]);
        let exhaust = || while limiter.count_failure(address).is_ok() {};
        limiter.note_right_api_token("right", Uuid::nil());
        for (later, is_admitted) in [(0, true), (3_599, true), (1, false)] {
            tokio::time::advance(Duration::from_secs(later)).await;
            exhaust();
            let admitted = limiter.admit_api_token(address, "right");
            assert_eq!(admitted.is_ok(), is_admitted, "{later}");
            exhaust();
            assert!(limiter.admit_api_token(address, "a guess").is_err());
        }
    }

    #[tokio::test]
    async fn memory_does_not_grow_with_the_number_of_addresses_or_api_tokens() {
        let limiter = CallLimiter::new(0, 1);
        for number in 0..200_000_u32 {
            let _ = limiter.count_failure(IpAddr::from(number.to_be_bytes()));
            limiter.note_right_api_token(&number.to_string(), Uuid::nil());
        }
        let failures = limiter.failures.as_ref().unwrap();
        let counted = lock(&failures.counter.whole_at).len() as u64;
        assert!(counted <= ADDRESS_SLOTS, "{counted}");
        let refused = lock(&failures.next_at).len() as u64;
        assert!(refused <= ADDRESS_SLOTS, "{refused}");
        let right = lock(&limiter.right).len() as u64;
        assert!(right <= TOKEN_SLOTS, "{right}");
    }
}
