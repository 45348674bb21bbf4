//! The service against a model of it: sequences of operations, alone and at once, on a store whose
//! calls fail at any point, with crashes and a clock that jumps.
//!
//! A sequence that breaks a promise is made shorter as long as it still does, and printed with its
//! seed: `WAYSTATION_MODEL_SEED=<seed> cargo test --test faults model::` repeats it.
//! `WAYSTATION_SOAK_SECONDS=<seconds>` goes on for so long, with new seeds.

mod attempt_sequences;
mod content;
mod deployment_sequences;
mod failing_attempts;
mod failing_bucket;
mod failing_documents;
mod failing_folder;
mod failing_journals;
mod failing_pins;
mod place;
mod plan;
mod publications;
mod reference;
mod run;
mod service;
mod soak;

mod trouble;
mod two_nodes;

use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::memory::InMemory;
use waystation::clock::FakeClock;
use waystation::store::folder::Sync;

use failing_bucket::Bucket;
use failing_folder::Folder;
use place::Place;
use plan::{Step, sequence};
use run::run;
pub(crate) use service::Service;
use soak::Soak;
use waystation_testing::seaweedfs::{ACCESS_KEY, BUCKET, SECRET_KEY, SeaweedFs};

fn new_folder(seed: u64, _clock: &FakeClock) -> Place {
    let is_synced = !seed.is_multiple_of(4);
    Place::Folder(Folder::new(if is_synced { Sync::On } else { Sync::Off }))
}

fn new_bucket_in_memory(_seed: u64, clock: &FakeClock) -> Place {
    Place::Bucket(Bucket::new(Arc::new(InMemory::new()), false, clock))
}

fn new_bucket_of_seaweedfs(_seed: u64, clock: &FakeClock) -> Place {
    let objects = AmazonS3Builder::new()
        .with_endpoint(SeaweedFs::shared().endpoint())
        .with_allow_http(true)
        .with_bucket_name(BUCKET)
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(SECRET_KEY)
        .build();
    Place::Bucket(Bucket::new(Arc::new(objects.unwrap()), true, clock))
}

const ON_A_FOLDER: Soak<Step> = Soak {
    name: "a folder",
    sequences: 10_000,
    new_place: new_folder,
    sequence,
    run: |runtime, place, clock, steps| runtime.block_on(run(place, clock, steps)),
};

const ON_A_BUCKET: Soak<Step> = Soak {
    name: "a bucket in memory",
    sequences: 1_000,
    new_place: new_bucket_in_memory,
    ..ON_A_FOLDER
};

const ON_SEAWEEDFS: Soak<Step> = Soak {
    name: "a bucket of SeaweedFS",
    sequences: 40,
    new_place: new_bucket_of_seaweedfs,
    ..ON_A_FOLDER
};

const DEPLOYING_ON_A_FOLDER: Soak<deployment_sequences::moves::Step> = Soak {
    name: "a folder, deploying",
    sequences: 30,
    new_place: new_folder,
    sequence: deployment_sequences::moves::sequence,
    run: |runtime, place, clock, steps| {
        runtime.block_on(deployment_sequences::deploying_run::run(
            place, clock, steps,
        ))
    },
};

const DEPLOYING_ON_A_BUCKET: Soak<deployment_sequences::moves::Step> = Soak {
    name: "a bucket in memory, deploying on two servers",
    sequences: 24,
    new_place: new_bucket_in_memory,
    ..DEPLOYING_ON_A_FOLDER
};

const DEPLOYING_ON_SEAWEEDFS: Soak<deployment_sequences::moves::Step> = Soak {
    name: "a bucket of SeaweedFS, deploying on two servers",
    sequences: 2,
    new_place: new_bucket_of_seaweedfs,
    ..DEPLOYING_ON_A_FOLDER
};

#[test]
fn sequences_on_a_folder_keep_every_promise() {
    ON_A_FOLDER.run();
}

#[test]
fn each_call_to_the_file_system_may_fail_once_in_each_way_or_be_the_last() {
    ON_A_FOLDER.try_each_call();
}

#[test]
fn sequences_on_a_bucket_keep_every_promise() {
    ON_A_BUCKET.run();
}

#[test]
fn each_call_to_an_object_store_may_fail_once_in_each_way_or_be_the_last() {
    ON_A_BUCKET.try_each_call();
}

#[test]
fn sequences_on_seaweedfs_keep_every_promise() {
    ON_SEAWEEDFS.run();
}

#[test]
fn deployments_on_a_folder_keep_every_promise() {
    DEPLOYING_ON_A_FOLDER.run();
}

#[test]
fn deployments_on_a_bucket_keep_every_promise() {
    DEPLOYING_ON_A_BUCKET.run();
}

#[test]
fn deployments_on_seaweedfs_keep_every_promise() {
    DEPLOYING_ON_SEAWEEDFS.run();
}
