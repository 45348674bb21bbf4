//! The store in a bucket of a real engine.
//!
//! The engine's credentials come from the environment, and a program cannot safely change its own. So
//! one test runs this test program again, with them, and with nothing but the suite on the engine.

use std::process::Command;

use waystation::clock::Clock;
use waystation::store::bucket::Overwrite;
use waystation::store::{BucketStore, Store};

use crate::engine::{BUCKET, Engine};

/// A store below a prefix of its own: what has to be kept for it is nothing.
pub(crate) fn new_store() -> ((), Store) {
    let prefix = getrandom::u64().unwrap();
    let url = format!("s3://{BUCKET}/{prefix:x}").parse().unwrap();
    let store = BucketStore::open(&url, Overwrite::Refuse, Clock::System).unwrap();
    ((), Store::Bucket(store))
}

#[test]
fn a_bucket_of_a_real_engine_conforms() {
    let engine = Engine::start();
    let mut suite = Command::new(std::env::current_exe().unwrap());
    suite
        .args(["--ignored", "bucket_of_an_engine_conforms::"])
        .envs(Engine::environment())
        .env("AWS_ENDPOINT", engine.endpoint());
    let ended = suite.output().unwrap();
    let told = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{told}");
    assert!(!told.contains(" 0 passed"), "{told}");
}
