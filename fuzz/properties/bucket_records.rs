//! What must hold whatever is found in a bucket: see [`crate::fuzzing`].

use object_store::path::Path;

use super::keys::Keys;
use super::record::{Record, StoredRecord};
use crate::store::{Collection, DocumentKey};

/// A key that is read is the one that would be written.
pub(crate) fn names(text: &str) {
    let Ok(key) = Path::parse(text) else {
        return;
    };
    for prefix in ["", "deep/er"] {
        let keys = Keys::below(Path::from(prefix));
        if let Some((source, role)) = keys.parse_source_key(&key) {
            assert_eq!(key, keys.of(source, role));
        }
        for collection in [Collection::Users, Collection::ApiTokens([7; 4])] {
            if let Some(name) = keys.parse_document(collection, &key) {
                assert_eq!(key, keys.document(&DocumentKey { collection, name }));
            }
        }
    }
}

/// A record that is read can be written, is then read as the same, and its parts can be counted.
pub(crate) fn records(bytes: &[u8]) {
    let Some(record) = Record::decode(bytes) else {
        return;
    };
    let facts = record.facts();
    let written = StoredRecord::new(record.attempt, record.part_bytes, &facts);
    let written = serde_json::to_vec(&written).expect("records can be written");
    let again = Record::decode(&written).expect("what was written can be read");
    assert_eq!(again.attempt, record.attempt);
    assert_eq!(again.facts(), facts);
    let end = record.parts().checked_mul(record.part_bytes);
    assert!(end.is_some_and(|end| end >= facts.size_bytes));
}
