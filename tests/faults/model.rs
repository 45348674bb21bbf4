//! The service against a model of it: sequences of operations, alone and at once, on a store whose
//! calls fail at any point, with crashes and a clock that jumps.
//!
//! A sequence that breaks a promise is made shorter as long as it still does, and printed with its
//! seed: `WAYSTATION_MODEL_SEED=<seed> cargo test --test faults model::` repeats it.
//! `WAYSTATION_SOAK_SECONDS=<seconds>` goes on for so long, with new seeds.

mod content;
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
use waystation::store::folder::Sync;

use failing_bucket::Bucket;
use failing_folder::Folder;
use place::Place;
pub(crate) use service::Service;
use soak::Soak;
use waystation_testing::seaweedfs::{ACCESS_KEY, BUCKET, SECRET_KEY, SeaweedFs};

const ON_A_FOLDER: Soak = Soak {
    name: "a folder",
    sequences: 10_000,
    new_place: |seed, _clock| {
        let is_synced = !seed.is_multiple_of(4);
        Place::Folder(Folder::new(if is_synced { Sync::On } else { Sync::Off }))
    },
};

const ON_A_BUCKET: Soak = Soak {
    name: "a bucket in memory",
    sequences: 1_000,
    new_place: |_seed, clock| Place::Bucket(Bucket::new(Arc::new(InMemory::new()), false, clock)),
};

const ON_SEAWEEDFS: Soak = Soak {
    name: "a bucket of SeaweedFS",
    sequences: 40,
    new_place: |_seed, clock| {
        let objects = AmazonS3Builder::new()
            .with_endpoint(SeaweedFs::shared().endpoint())
            .with_allow_http(true)
            .with_bucket_name(BUCKET)
            .with_access_key_id(ACCESS_KEY)
            .with_secret_access_key(SECRET_KEY)
            .build();
        Place::Bucket(Bucket::new(Arc::new(objects.unwrap()), true, clock))
    },
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
