//! The facts of an archive as the last bytes of its file. Pure.
//!
//! Archive and facts are one file, so one step makes both visible. They stand at the end because
//! the digest is known only there, and so that the archive's bytes stay aligned.
//!
//! ```text
//! offset  bytes
//!      0      8  magic, with the version of this format
//!      8      8  size of the archive, big endian
//!     16      8  milliseconds since the epoch at which it had been received, big endian
//!     24      8  media type: one byte, then zeroes
//!     32     32  SHA-256 of the archive
//!     64     16  check: leading bytes of the SHA-256 of the source's id and all of the above
//! ```

use bytes::{Buf, BufMut};
use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::digest::Sha256Digest;
use crate::media::MediaType;
use crate::source::{Facts, SourceId};

pub const FOOTER_BYTES: usize = 80;
const CHECKED_BYTES: usize = 64;
const MAGIC: &[u8; 8] = b"waystn\x00\x01";

pub fn encode(source: SourceId, facts: &Facts) -> [u8; FOOTER_BYTES] {
    let mut footer = [0; FOOTER_BYTES];
    let mut rest = footer.as_mut_slice();
    rest.put_slice(MAGIC);
    rest.put_u64(facts.size_bytes);
    rest.put_u64(facts.uploaded_at.as_ms());
    rest.put_u8(media_type_code(facts.media_type));
    rest.put_bytes(0, 7);
    rest.put_slice(&facts.sha256.0);
    let check = check_of(source, &footer[..CHECKED_BYTES]);
    footer[CHECKED_BYTES..].copy_from_slice(&check);
    footer
}

/// Reads the footer of a file of `file_bytes`; the error says what is wrong with it.
pub fn decode(
    source: SourceId,
    footer: &[u8; FOOTER_BYTES],
    file_bytes: u64,
) -> Result<Facts, &'static str> {
    let (checked, check) = footer.split_at(CHECKED_BYTES);
    let mut rest = checked;
    if rest.copy_to_bytes(MAGIC.len()) != MAGIC.as_slice() {
        return Err("it does not end like an archive of this store");
    }
    if check_of(source, checked) != check {
        return Err("its facts have changed, or belong to another source");
    }
    let size_bytes = rest.get_u64();
    if size_bytes.checked_add(FOOTER_BYTES as u64) != Some(file_bytes) {
        return Err("it is not as long as it was");
    }
    let uploaded_at = Timestamp::from_ms(rest.get_u64());
    let media_type = media_type_of(rest.get_u8()).ok_or("its media type is unknown")?;
    rest.advance(7);
    let mut sha256 = [0; 32];
    rest.copy_to_slice(&mut sha256);
    Ok(Facts {
        size_bytes,
        sha256: Sha256Digest(sha256),
        media_type,
        uploaded_at,
    })
}

fn check_of(source: SourceId, checked: &[u8]) -> [u8; FOOTER_BYTES - CHECKED_BYTES] {
    let digest = Sha256::new()
        .chain_update(source.as_bytes())
        .chain_update(checked)
        .finalize();
    let mut check = [0; FOOTER_BYTES - CHECKED_BYTES];
    check.copy_from_slice(&digest[..FOOTER_BYTES - CHECKED_BYTES]);
    check
}

const fn media_type_code(media_type: MediaType) -> u8 {
    match media_type {
        MediaType::Unknown => 0,
        MediaType::Gzip => 1,
        MediaType::Zip => 2,
        MediaType::Zstd => 3,
        MediaType::Xz => 4,
        MediaType::Bzip2 => 5,
        MediaType::Lz4 => 6,
        MediaType::Tar => 7,
    }
}

const fn media_type_of(code: u8) -> Option<MediaType> {
    Some(match code {
        0 => MediaType::Unknown,
        1 => MediaType::Gzip,
        2 => MediaType::Zip,
        3 => MediaType::Zstd,
        4 => MediaType::Xz,
        5 => MediaType::Bzip2,
        6 => MediaType::Lz4,
        7 => MediaType::Tar,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source() -> SourceId {
        SourceId::mint(Timestamp::from_ms(1_700_000_000_000), [3; 10])
    }

    fn facts(size_bytes: u64, sha256: [u8; 32], code: u8, uploaded_at_ms: u64) -> Facts {
        Facts {
            size_bytes,
            sha256: Sha256Digest(sha256),
            media_type: media_type_of(code).unwrap(),
            uploaded_at: Timestamp::from_ms(uploaded_at_ms),
        }
    }

    proptest! {
        #[test]
        fn facts_are_read_back(
            size_bytes in 0u64..(1 << 62),
            sha256: [u8; 32],
            code in 0u8..8,
            uploaded_at_ms in 0u64..(1 << 47),
        ) {
            let facts = facts(size_bytes, sha256, code, uploaded_at_ms);
            let footer = encode(source(), &facts);
            let file_bytes = size_bytes + FOOTER_BYTES as u64;
            prop_assert_eq!(decode(source(), &footer, file_bytes), Ok(facts));
        }

        #[test]
        fn any_flipped_bit_is_noticed(bit in 0usize..(FOOTER_BYTES * 8)) {
            let mut footer = encode(source(), &facts(5, [9; 32], 1, 77));
            footer[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(source(), &footer, 5 + FOOTER_BYTES as u64).is_err());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: [[u8; 16]; 5], file_bytes: u64) {
            let mut footer = [0; FOOTER_BYTES];
            footer.copy_from_slice(&bytes.concat());
            prop_assert!(decode(source(), &footer, file_bytes).is_err());
        }
    }

    /// Archives that are stored already have them.
    #[test]
    fn the_codes_of_media_types_stay() {
        let names = [
            "octet-stream",
            "gzip",
            "zip",
            "zstd",
            "x-xz",
            "x-bzip2",
            "x-lz4",
            "x-tar",
        ];
        for (code, name) in (0..).zip(names) {
            let media_type = media_type_of(code).unwrap();
            assert_eq!(media_type.name(), format!("application/{name}"));
        }
        assert_eq!(media_type_of(8), None);
    }

    #[test]
    fn the_facts_of_another_source_are_not_taken() {
        let footer = encode(source(), &facts(5, [9; 32], 1, 77));
        let other = SourceId::mint(Timestamp::from_ms(1_700_000_000_000), [4; 10]);
        assert!(decode(other, &footer, 5 + FOOTER_BYTES as u64).is_err());
    }
}
