//! What must hold whatever is found in the folder of a store.

use std::path::{Component, Path};

use sha2::{Digest as _, Sha256};
use waystation::clock::Timestamp;
use waystation::digest::Sha256Digest;
use waystation::media::MediaType;
use waystation::source::{Facts, SourceId};
use waystation::store::folder::footer::{self, FOOTER_BYTES};
use waystation::store::folder::layout::Layout;
use waystation::store::{Collection, DocumentKey, DocumentName};

/// The file of a source or a document has its name, and no path leaves its folder.
pub(crate) fn names(text: &str) {
    let layout = Layout::below("/store".into());
    if let Ok(source) = text.parse::<SourceId>() {
        assert_is_at(&layout.source(source), "/store/sources", 3, text);
    }
    if let Some(name) = DocumentName::parse(text) {
        let collection = Collection::Users;
        let path = layout.document(&DocumentKey { collection, name });
        assert_is_at(&path, "/store/users", 1, text);
    }
}

fn assert_is_at(path: &Path, folder: &str, depth: usize, name: &str) {
    assert_eq!(path.file_name().and_then(|name| name.to_str()), Some(name));
    let below = path.strip_prefix(folder).expect("it is below its folder");
    assert_eq!(below.components().count(), depth);
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    assert!(below.components().all(is_plain));
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

/// The same with the leading magic, and the trailing check of all before it.
fn with_right_marks(source: SourceId, mut footer: [u8; FOOTER_BYTES]) -> [u8; FOOTER_BYTES] {
    let facts = Facts {
        size_bytes: 0,
        sha256: Sha256Digest([0; 32]),
        media_type: MediaType::Unknown,
        uploaded_at: Timestamp::from_ms(0),
    };
    footer[..8].copy_from_slice(&footer::encode(source, &facts)[..8]);
    let digest = Sha256::new()
        .chain_update(source.as_bytes())
        .chain_update(&footer[..64])
        .finalize();
    footer[64..].copy_from_slice(&digest[..16]);
    footer
}
