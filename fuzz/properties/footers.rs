//! What must hold whatever is found in the folder of a store: see [`crate::fuzzing`].

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use super::footer::{self, CHECKED_BYTES, FOOTER_BYTES, MAGIC};
use super::layout::{ExpirySecond, Layout, Minute, parse_source};
use crate::clock::Timestamp;
use crate::source::SourceId;
use crate::store::{Collection, DocumentKey, DocumentName};

/// A file's name that is read is the one that would be written, and no path leaves its folder.
pub(crate) fn names(text: &str) {
    let layout = Layout::below(PathBuf::from("/store"));
    let name = OsStr::new(text);
    if let Some(source) = parse_source(name) {
        let path = layout.source(source);
        assert_eq!(path.file_name(), Some(name));
        assert_below(&layout.sources(), &path, 3);
        let second = ExpirySecond::of(source);
        assert!(second.has_begun(source.expires_at()) && !second.is_over(source.expires_at()));
        let minute = Minute::parse(OsStr::new(&second.minute().to_string()));
        let minute = minute.expect("the folder of a source is read back");
        assert_eq!(
            minute.parse_second(OsStr::new(&second.to_string())),
            Some(second)
        );
    }
    if let Some(document) = DocumentName::parse(text) {
        let collection = Collection::Users;
        let folder = layout.documents(collection);
        let path = layout.document(&DocumentKey {
            collection,
            name: document,
        });
        assert_eq!(path.file_name(), Some(name));
        assert_below(&folder, &path, 1);
    }
    if let Some(minute) = Minute::parse(name) {
        assert_below(&layout.sources(), &layout.minute(minute), 1);
        let second = minute.parse_second(OsStr::new("59")).expect("a second");
        assert!(
            second.is_over(Timestamp::from_ms(u64::MAX))
                || !second.has_begun(Timestamp::from_ms(0))
        );
    }
}

fn assert_below(folder: &Path, path: &Path, depth: usize) {
    let below = path.strip_prefix(folder).expect("it is below its folder");
    assert_eq!(below.components().count(), depth);
    assert!(
        below
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
    );
}

/// Facts that are read are those that were written for this source; any that are not, are noticed.
/// Bytes are also tried with the marks that the first check asks for put right.
pub(crate) fn footers(bytes: &[u8]) {
    let source = SourceId::mint(Timestamp::from_ms(1_700_000_000_000), [3; 10]);
    let other = SourceId::mint(Timestamp::from_ms(1_700_000_000_000), [4; 10]);
    let mut found = [0; FOOTER_BYTES];
    let len = bytes.len().min(FOOTER_BYTES);
    found[..len].copy_from_slice(&bytes[..len]);
    let size = found[8..16]
        .try_into()
        .map(u64::from_be_bytes)
        .expect("eight bytes");
    let file_bytes = size.wrapping_add(FOOTER_BYTES as u64);
    for footer in [found, with_right_marks(source, found)] {
        let Ok(facts) = footer::decode(source, &footer, file_bytes) else {
            continue;
        };
        assert_eq!(facts.size_bytes, size);
        assert!(footer::decode(other, &footer, file_bytes).is_err());
        assert!(footer::decode(source, &footer, file_bytes ^ 1).is_err());
        let written = footer::encode(source, &facts);
        assert_eq!(footer::decode(source, &written, file_bytes), Ok(facts));
        assert_eq!(written[..16], footer[..16]);
        assert_eq!(written[32..64], footer[32..64]);
    }
}

fn with_right_marks(source: SourceId, mut footer: [u8; FOOTER_BYTES]) -> [u8; FOOTER_BYTES] {
    footer[..MAGIC.len()].copy_from_slice(MAGIC);
    let check = footer::check_of(source, &footer[..CHECKED_BYTES]);
    footer[CHECKED_BYTES..].copy_from_slice(&check);
    footer
}
