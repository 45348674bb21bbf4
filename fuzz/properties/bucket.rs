//! What must hold whatever is found in a bucket.

use object_store::path::Path;

use waystation::store::bucket::keys::Keys;
use waystation::store::bucket::record::Record;
use waystation::store::{Collection, DocumentKey};

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
    assert_eq!(Record::decode(&record.encode()), Some(record));
    let parts = record.facts.size_bytes.div_ceil(record.part_bytes);
    let end = parts.checked_mul(record.part_bytes);
    assert!(end.is_some_and(|end| end >= record.facts.size_bytes));
}
