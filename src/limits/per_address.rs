//! How many of something there are at the same time for each key: connections and transfers of a stranger,
//! uploads to a source.
//!
//! Memory is bounded by what is held: a key for which nothing is held is forgotten.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::mutex::lock;

/// Counts what is held for each key.
#[derive(Debug)]
pub struct AtOnceLimit<K> {
    limit: u32,
    held: Mutex<HashMap<K, u32>>,
}

/// Counts what each address holds. A crowd behind one address shares what one may have.
pub type PerAddressLimit = AtOnceLimit<u64>;

/// One of what is counted; given back when it is dropped.
#[derive(Debug)]
pub struct Permit<K: Copy + Eq + Hash = u64> {
    of: Arc<AtOnceLimit<K>>,
    key: K,
}

impl<K: Copy + Eq + Hash> AtOnceLimit<K> {
    /// Lets each key hold `limit` at once.
    pub fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self {
            limit,
            held: Mutex::default(),
        })
    }

    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// One more for `key`; `None` if it holds as many as it may.
    pub fn acquire_for(self: &Arc<Self>, key: K) -> Option<Permit<K>> {
        let mut held = lock(&self.held);
        let count = held.entry(key).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Permit {
            of: Arc::clone(self),
            key,
        })
    }
}

impl PerAddressLimit {
    /// One more for `address` (of IPv6, for its /64).
    pub fn acquire(self: &Arc<Self>, address: IpAddr) -> Option<Permit> {
        self.acquire_for(network_of(address))
    }
}

impl<K: Copy + Eq + Hash> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut held = lock(&self.of.held);
        if let Some(count) = held.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.key);
            }
        }
    }
}

/// What one stranger is likely to hold of the address space: an IPv4 address, or an IPv6 /64.
pub(super) fn network_of(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            u64::try_from(address.to_bits() >> 64).expect("64 of 128 bits are left")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_limit_and_no_more_until_it_gives_some_back() {
        let at_once = PerAddressLimit::new(2);
        let first = at_once.acquire(address("192.0.2.1")).unwrap();
        let _second = at_once.acquire(address("::ffff:192.0.2.1")).unwrap();
        assert!(at_once.acquire(address("192.0.2.1")).is_none());
        assert!(at_once.acquire(address("192.0.2.2")).is_some());
        drop(first);
        assert!(at_once.acquire(address("192.0.2.1")).is_some());
    }

    #[test]
    fn an_ipv6_network_is_one_stranger() {
        let at_once = PerAddressLimit::new(1);
        let _held = at_once.acquire(address("2001:db8:1:1::1")).unwrap();
        assert!(at_once.acquire(address("2001:db8:1:1:ffff::2")).is_none());
        assert!(at_once.acquire(address("2001:db8:1:2::1")).is_some());
    }

    #[test]
    fn an_address_that_holds_nothing_is_forgotten() {
        let at_once = PerAddressLimit::new(1);
        for number in 0..100_000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            drop(at_once.acquire(address).unwrap());
        }
        assert_eq!(lock(&at_once.held).len(), 0);
    }
}
