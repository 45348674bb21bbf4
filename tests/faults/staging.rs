//! Uploads to a store, step by step, for tests that fail, hold or watch calls in between.

use bytes::Bytes;
use waystation::clock::Timestamp;
use waystation::digest::{Digester, ExpectedDigests};
use waystation::source::SourceId;
use waystation::store::{Published, Staged, Store, Upload, UploadStart};

pub(crate) async fn begin(store: &Store, source: SourceId) -> Upload {
    let digester = Digester::expecting(&ExpectedDigests::default());
    match store.begin_upload(source, None, digester).await.unwrap() {
        UploadStart::Accepted(upload) => upload,
        UploadStart::AlreadyUploaded(facts) => panic!("there is {facts:?} already"),
    }
}

pub(crate) async fn stage(mut upload: Upload, bytes: impl Into<Bytes>) -> Staged {
    upload.write(bytes.into()).await.unwrap();
    upload.finish().await.unwrap()
}

pub(crate) async fn publish(staged: Staged) {
    let published = staged.publish(Timestamp::from_ms(0)).await.unwrap();
    assert!(matches!(published, Published::New(_)));
}
