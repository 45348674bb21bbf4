//! What every store promises of documents, and at the end what only one of them shows.

use std::fs;
use std::sync::Arc;

use futures_util::future::{join, join_all};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use waystation::store::bucket::Overwrite;
use waystation::store::{
    BucketStore, Collection, DocumentKey, DocumentName, Expected, MAX_DOCUMENT_BYTES, Store,
    StoreError, Updated, Versioned, Written,
};

use crate::bucket::shortly_before_expiry;
use crate::object_store_double::ObjectStoreDouble;

pub(crate) const OWNER: Collection = Collection::ApiTokens([1, 2, 3, 4]);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) text: String,
}

pub(crate) fn note(text: &str) -> Note {
    Note {
        text: text.to_owned(),
    }
}

pub(crate) async fn read(store: &Store, key: &DocumentKey) -> Option<Versioned<Note>> {
    store.read_document(key).await.unwrap()
}

async fn text(store: &Store, key: &DocumentKey) -> Option<String> {
    read(store, key).await.map(|found| found.value.text)
}

async fn write(store: &Store, key: &DocumentKey, text: &str, expected: Expected) -> Written {
    let note = note(text);
    store.write_document(key, &note, expected).await.unwrap()
}

pub(crate) fn on_double(double: ObjectStoreDouble) -> (Arc<ObjectStoreDouble>, Store) {
    let double = Arc::new(double);
    let clock = shortly_before_expiry();
    let bucket = BucketStore::within(double.clone(), "p", Overwrite::Refuse, clock);
    (double, Store::Bucket(bucket))
}

pub(crate) async fn a_document_is_created_only_where_none_is(store: &Store) {
    for collection in [Collection::Users, OWNER] {
        let key = collection.key(b"a");
        assert_eq!(read(store, &key).await, None);
        // What they write is the same, and still only one has written it.
        let creations = (0..8).map(|_| write(store, &key, "new", Expected::Absent));
        let created = join_all(creations).await;
        let done = created.iter().filter(|written| **written == Written::Done);
        assert_eq!(done.count(), 1, "{created:?}");
        assert_eq!(text(store, &key).await.unwrap(), "new");
    }
}

pub(crate) async fn what_was_read_is_what_is_replaced(store: &Store) {
    let key = OWNER.key(b"a");
    write(store, &key, "first", Expected::Absent).await;
    let first = read(store, &key).await.unwrap().version;
    let expected = || Expected::Version(first.clone());
    let writers = (0..8).map(|_| write(store, &key, "second", expected()));
    let written = join_all(writers).await;
    let done = written.iter().filter(|written| **written == Written::Done);
    assert_eq!(done.count(), 1, "{written:?}");

    // The same text again is another version.
    let second = Expected::Version(read(store, &key).await.unwrap().version);
    assert_eq!(write(store, &key, "first", second).await, Written::Done);
    assert_eq!(
        write(store, &key, "late", expected()).await,
        Written::Conflict
    );
    assert_eq!(text(store, &key).await.unwrap(), "first");
}

pub(crate) async fn an_update_is_made_of_what_is_there(store: &Store) {
    let key = OWNER.key(b"a");
    let append = |letter: char| {
        store.update_document(&key, move |note: Note| {
            Some(Note {
                text: format!("{}{letter}", note.text),
            })
        })
    };
    assert_eq!(append('a').await.unwrap(), Updated::Missing);
    assert_eq!(read(store, &key).await, None);

    write(store, &key, "", Expected::Absent).await;
    for updated in join_all("abc".chars().map(append)).await {
        assert!(matches!(updated.unwrap(), Updated::Done(_)));
    }
    let mut letters: Vec<_> = text(store, &key).await.unwrap().chars().collect();
    letters.sort_unstable();
    assert_eq!(letters, ['a', 'b', 'c']);

    let declined = store.update_document(&key, |_: Note| None);
    assert_eq!(declined.await.unwrap(), Updated::Declined);
}

pub(crate) async fn a_deleted_document_stays_deleted(store: &Store) {
    let key = OWNER.key(b"a");
    for _ in 0..20 {
        write(store, &key, "old", Expected::Absent).await;
        let version = Expected::Version(read(store, &key).await.unwrap().version);
        let (deleted, _) = join(
            store.delete_document(&key),
            write(store, &key, "new", version.clone()),
        )
        .await;
        deleted.unwrap();
        assert_eq!(read(store, &key).await, None);
        assert_eq!(write(store, &key, "new", version).await, Written::Conflict);
        store.delete_document(&key).await.unwrap();
        assert_eq!(read(store, &key).await, None);
    }
    let other = Collection::Users.key(b"never there");
    store.delete_document(&other).await.unwrap();
}

pub(crate) async fn a_document_may_be_as_long_as_the_limit(store: &Store) {
    let key = Collection::Users.key(b"a");
    let write = async |bytes: usize| {
        let note = note(&"a".repeat(bytes));
        store.write_document(&key, &note, Expected::Absent).await
    };
    let too_long = |written| match written {
        Err(StoreError::DocumentTooLong { bytes, .. }) => bytes,
        other => panic!("{other:?}"),
    };
    let more = too_long(write(MAX_DOCUMENT_BYTES).await) - MAX_DOCUMENT_BYTES;
    let longest = MAX_DOCUMENT_BYTES - more;
    assert_eq!(too_long(write(longest + 1).await), MAX_DOCUMENT_BYTES + 1);
    assert_eq!(read(store, &key).await, None);
    assert_eq!(write(longest).await.unwrap(), Written::Done);
    assert_eq!(text(store, &key).await.unwrap().len(), longest);
}

pub(crate) async fn documents_are_listed_in_order_and_in_pages(store: &Store) {
    let other = Collection::ApiTokens([1, 2, 3, 5]);
    for name in [b"c", b"a", b"d", b"b"] {
        write(store, &OWNER.key(name), "", Expected::Absent).await;
    }
    write(store, &other.key(b"aa"), "other", Expected::Absent).await;
    let list = async |after: Option<&[u8]>, limit| {
        let after = after.map(DocumentName::from_bytes);
        let listed = store.list_documents(OWNER, after.as_ref(), limit).await;
        listed.unwrap()
    };
    let [a, b, c, d] = [b"a", b"b", b"c", b"d"].map(|name| DocumentName::from_bytes(name));
    let all = [a.clone(), b.clone(), c, d.clone()];
    assert_eq!(list(None, 9).await, all);
    assert_eq!(list(None, 2).await, all[..2]);
    assert_eq!(list(Some(b"b"), 9).await, all[2..]);
    assert_eq!(list(Some(b"aa"), 1).await, [b]);
    assert_eq!(list(Some(b"d"), 9).await, []);
    assert_eq!(list(None, 0).await, []);

    store.delete_document(&OWNER.key(b"d")).await.unwrap();
    assert_eq!(list(None, 9).await, all[..3]);
    let others: Vec<Note> = store.read_documents(other).await.unwrap();
    assert_eq!(others, [note("other")]);
    let nobodys = store.list_documents(Collection::Users, None, 9).await;
    assert_eq!(nobodys.unwrap(), []);
}

#[tokio::test]
async fn a_document_whose_answer_was_lost_is_known_to_be_written() {
    let (_, store) = on_double(ObjectStoreDouble {
        loses_answers: true,
        ..ObjectStoreDouble::default()
    });
    let key = OWNER.key(b"a");
    assert_eq!(
        write(&store, &key, "old", Expected::Absent).await,
        Written::Done
    );
    let old = Expected::Version(read(&store, &key).await.unwrap().version);
    assert_eq!(write(&store, &key, "new", old.clone()).await, Written::Done);
    assert_eq!(write(&store, &key, "new", old).await, Written::Conflict);
}

#[tokio::test]
async fn a_document_that_cannot_be_read_is_refused_and_hides_no_others() {
    let (folder, in_folder) = crate::folder::new_store();
    let (double, in_bucket) = on_double(ObjectStoreDouble::default());
    let file = folder.path().join("store/tokens/01020304/61.json");
    let object = Path::from("p/tokens/01020304/61.json");
    let stores = [in_folder, in_bucket];
    for store in &stores {
        for name in [b"a", b"b", b"c"] {
            write(store, &OWNER.key(name), "good", Expected::Absent).await;
        }
    }
    let (no_json, too_long) = ("[".to_owned(), " ".repeat(MAX_DOCUMENT_BYTES + 1));
    for (content, is_told) in [(no_json, "corrupt"), (too_long, "longer than 65536")] {
        fs::write(&file, &content).unwrap();
        double.inner.put(&object, content.into()).await.unwrap();
        for store in &stores {
            let refused = store.read_document::<Note>(&OWNER.key(b"a")).await;
            let told = refused.unwrap_err().to_string();
            assert!(told.contains(is_told), "{told}");
            let listed: Vec<Note> = store.read_documents(OWNER).await.unwrap();
            assert_eq!(listed, [note("good"), note("good")]);
        }
    }
}

#[tokio::test]
async fn a_list_of_documents_touches_no_other_collection() {
    let (folder, store) = crate::folder::new_store();
    write(&store, &OWNER.key(b"a"), "own", Expected::Absent).await;
    // What cannot be read: whoever tries fails.
    let other = folder.path().join("store/tokens/ffffffff/61.json");
    fs::create_dir_all(other).unwrap();
    let listed: Vec<Note> = store.read_documents(OWNER).await.unwrap();
    assert_eq!(listed, [note("own")]);
}
