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

/// A record that is read can be written, is then read as the same, and says where each of its bytes lies.
pub(crate) fn records(bytes: &[u8]) {
    let Some(record) = Record::decode(bytes) else {
        return;
    };
    assert_eq!(Record::decode(&record.encode()).as_ref(), Some(&record));
    let size_bytes = record.facts.size_bytes;
    assert!(record.inline_bytes() <= size_bytes);
    for at in [0, size_bytes / 2, size_bytes.saturating_sub(1)] {
        let extent = record.extent(at);
        let end = extent.map(|extent| at + (extent.range.end - extent.range.start));
        assert!(size_bytes == 0 || end.is_some_and(|end| at < end && end <= size_bytes));
    }
    assert_eq!(record.extent(size_bytes), None);
}
