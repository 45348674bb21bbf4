//! The arithmetic that every request pays for: how long it takes, and how often it allocates.
//!
//! `cargo bench --bench arithmetic` fails if minting or verifying a token is not below its bars.
#![allow(
    clippy::unwrap_used,
    reason = "a measurement stops at the first thing that is not as it should be"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use waystation::clock::Timestamp;
use waystation::digest::{Algorithm, Digester, ExpectedDigests};
use waystation::grant::{Action, GrantKeys};
use waystation::keys::KeyRing;
use waystation::secret::Secret;
use waystation::service::jwt::{BearerKeys, Caller};
use waystation::service::users::UserId;
use waystation::source::SourceId;

/// For a token that is minted, or verified, with one key.
const BAR: Duration = Duration::from_micros(1);
/// A token that is minted is a text; verifying one needs nothing.
const MINT_ALLOCATIONS: u64 = 1;
const VERIFY_ALLOCATIONS: u64 = 0;

const BATCHES: usize = 101;
const BATCH: u32 = 2_000;

const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

fn main() {
    let mut report = Report { has_failed: false };
    ids(&mut report);
    tokens(&mut report);
    bearers(&mut report);
    digests(&mut report);
    assert!(!report.has_failed, "a bar was missed: see above");
}

struct Report {
    has_failed: bool,
}

impl Report {
    /// Measures `work`, and says how often it allocates.
    fn add<T>(&mut self, name: &str, work: impl FnMut() -> T) {
        self.add_with_bars(name, None, work);
    }

    /// The bars are a number of allocations and [`BAR`].
    fn add_with_bars<T>(&mut self, name: &str, bar: Option<u64>, mut work: impl FnMut() -> T) {
        // Once before it is counted: what is made at the first use is not made for each.
        black_box(work());
        let counted = measure(|| drop(black_box(work()))).count_total;
        let took = median_time(&mut work);
        println!("{name}: {took:?}, {counted} allocations");
        self.has_failed |= bar.is_some_and(|most| counted > most || took > BAR);
    }
}

fn median_time<T>(work: &mut impl FnMut() -> T) -> Duration {
    let mut times: Vec<_> = (0..BATCHES)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..BATCH {
                black_box(work());
            }
            started.elapsed() / BATCH
        })
        .collect();
    times.sort();
    times[BATCHES / 2]
}

fn source() -> SourceId {
    SourceId::mint(NOW.after(Duration::from_mins(10)), [7; 10])
}

fn ring(keys: u8) -> KeyRing {
    let keys: Vec<_> = (1..=keys).map(|key| [key; 32]).collect();
    KeyRing::of(&keys)
}

fn ids(report: &mut Report) {
    let text = source().to_string();
    report.add("id, mint", source);
    report.add("id, write", || source().to_string());
    report.add("id, parse", || black_box(&text).parse::<SourceId>());
}

fn tokens(report: &mut Report) {
    let source = source();
    let one = GrantKeys::derive(&ring(1));
    let four = GrantKeys::derive(&ring(4));
    // Of the ring's last key, as long ago as it can be.
    let last = GrantKeys::derive(&KeyRing::of(&[[4; 32]]));
    let right = one.mint(Action::Upload, source);
    let old = last.mint(Action::Upload, source);
    let wrong = Secret::new("0".repeat(32));

    let verify = |keys: &GrantKeys, token: &Secret, is_right: bool| {
        let verified = keys.verify_upload(black_box(source), black_box(token).reveal(), NOW);
        assert_eq!(verified.is_ok(), is_right);
    };
    report.add_with_bars("token, mint", Some(MINT_ALLOCATIONS), || {
        one.mint(Action::Upload, black_box(source))
    });
    let bar = Some(VERIFY_ALLOCATIONS);
    report.add_with_bars("token, verify", bar, || verify(&one, &right, true));
    report.add_with_bars("token, verify a wrong one", bar, || {
        verify(&one, &wrong, false);
    });
    report.add("token, verify with 4 keys", || verify(&four, &old, true));
    report.add("token, verify a wrong one with 4 keys", || {
        verify(&four, &wrong, false);
    });
}

fn bearers(report: &mut Report) {
    let keys = BearerKeys::derive(&ring(1));
    let caller = Caller {
        user: UserId::of("somebody"),
        token: "0123456789abcdef01234567".parse().unwrap(),
        secret: [5; 8],
    };
    let bearer = keys.mint(caller, NOW, [9; 16]);
    report.add("bearer, mint", || keys.mint(caller, NOW, [9; 16]));
    report.add("bearer, verify", || {
        keys.verify(black_box(&bearer).reveal(), NOW).unwrap();
    });
}

fn digests(report: &mut Report) {
    let archive = [42; 1024];
    let digests_of = |expected: &ExpectedDigests| {
        let mut digester = Digester::expecting(expected);
        digester.update(black_box(&archive));
        digester.finish()
    };
    let sha256 = digests_of(&ExpectedDigests::default()).sha256.0;
    let expect = || {
        let mut expected = ExpectedDigests::default();
        expected.add(Algorithm::Sha256, sha256.to_vec()).unwrap();
        expected
    };
    let received = digests_of(&expect());
    report.add("digest, of 1 KiB", || {
        digests_of(&ExpectedDigests::default())
    });
    report.add("digest, expect and check", || {
        expect().check(black_box(&received)).unwrap();
    });
}
