//! Detects the kind of an archive from its first bytes. Pure.
//!
//! Clients send a wrong `Content-Type` or none; builders trust ours. So only the bytes count.

use std::ops::{Range, RangeInclusive};

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaType {
    /// RFC 1952.
    #[serde(rename = "application/gzip")]
    Gzip,
    /// PKWARE's zip, also an empty one.
    #[serde(rename = "application/zip")]
    Zip,
    /// RFC 8878.
    #[serde(rename = "application/zstd")]
    Zstd,
    /// The `.xz` file format.
    #[serde(rename = "application/x-xz")]
    Xz,
    #[serde(rename = "application/x-bzip2")]
    Bzip2,
    /// The frames of lz4, of the current or the legacy format.
    #[serde(rename = "application/x-lz4")]
    Lz4,
    /// A tar that is not compressed, of any of its formats.
    #[serde(rename = "application/x-tar")]
    Tar,
    #[serde(rename = "application/octet-stream")]
    Unknown,
}

/// How many leading bytes [`MediaType::of`] needs to see: the header of a tar's first file.
pub const MAGIC_BYTES: usize = 512;

const MAGICS: [(&[u8], MediaType); 9] = [
    (b"\x1f\x8b", MediaType::Gzip),
    (b"PK\x03\x04", MediaType::Zip),
    (b"PK\x05\x06", MediaType::Zip),
    (b"PK\x07\x08", MediaType::Zip),
    (b"\x28\xb5\x2f\xfd", MediaType::Zstd),
    (b"\xfd7zXZ\x00", MediaType::Xz),
    (b"BZh", MediaType::Bzip2),
    (b"\x04\x22\x4d\x18", MediaType::Lz4),
    // The format of before 2013, which kernels still have.
    (b"\x02\x21\x4c\x18", MediaType::Lz4),
];

/// The first byte of a skippable frame is any of these (RFC 8878, section 3.1.2); then come three more, its
/// length, and what is to be skipped. Parallel and seekable compressors write such frames.
const SKIPPABLE: RangeInclusive<u8> = 0x50..=0x5f;

impl MediaType {
    /// The kind of an archive that begins with `head`; [`MAGIC_BYTES`] of it are enough.
    pub fn of(head: &[u8]) -> Self {
        let head = &head[..head.len().min(MAGIC_BYTES)];
        let magic = MAGICS.iter().find(|(magic, _)| head.starts_with(magic));
        if let Some(&(_, media_type)) = magic {
            media_type
        } else if let [first, 0x2a, 0x4d, 0x18, a, b, c, d, rest @ ..] = head
            && SKIPPABLE.contains(first)
        {
            let skipped = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
            match rest.get(skipped..).map(Self::of) {
                Some(Self::Lz4) => Self::Lz4,
                Some(Self::Zstd) => Self::Zstd,
                // Garbage; but where what follows is not seen, it is of the one that uses such frames.
                Some(_) if rest.len() >= skipped + 4 => Self::Unknown,
                Some(_) | None => Self::Zstd,
            }
        } else if is_tar_header(head) {
            Self::Tar
        } else {
            Self::Unknown
        }
    }

    /// The IANA name, or the customary one where none is registered.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "application/gzip",
            Self::Zip => "application/zip",
            Self::Zstd => "application/zstd",
            Self::Xz => "application/x-xz",
            Self::Bzip2 => "application/x-bzip2",
            Self::Lz4 => "application/x-lz4",
            Self::Tar => "application/x-tar",
            Self::Unknown => "application/octet-stream",
        }
    }

    /// What a downloaded file's name ends with, the dot included. An archive that is compressed as
    /// a stream is taken for a tarball, since that is what sources are.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Gzip => ".tar.gz",
            Self::Zip => ".zip",
            Self::Zstd => ".tar.zst",
            Self::Xz => ".tar.xz",
            Self::Bzip2 => ".tar.bz2",
            Self::Lz4 => ".tar.lz4",
            Self::Tar => ".tar",
            Self::Unknown => ".bin",
        }
    }
}

/// Is the sum of its bytes what it says, in octal digits? Tars of before POSIX have no other mark. The digits
/// themselves count as blanks.
fn is_tar_header(head: &[u8]) -> bool {
    const SUM: Range<usize> = 148..156;
    let (Some(digits), MAGIC_BYTES) = (head.get(SUM), head.len()) else {
        return false;
    };
    let is_padding = |byte: &u8| matches!(byte, b' ' | b'\0');
    let digits = digits.split(is_padding).find(|digits| !digits.is_empty());
    let said = digits.and_then(|digits| str::from_utf8(digits).ok());
    let said = said.and_then(|digits| u32::from_str_radix(digits, 8).ok());
    let bytes = head.iter().enumerate();
    let sum = bytes.map(|(at, byte)| u32::from(if SUM.contains(&at) { b' ' } else { *byte }));
    said == Some(sum.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_magic_is_known_whole_and_only_whole() {
        for (magic, media_type) in MAGICS {
            assert!(magic.len() <= MAGIC_BYTES);
            assert_eq!(MediaType::of(magic), media_type);
            assert_eq!(MediaType::of(&[magic, b"more"].concat()), media_type);
            assert_eq!(MediaType::of(&magic[..magic.len() - 1]), MediaType::Unknown);
        }
    }

    /// Frames to skip, then that.
    fn behind_frames(skipped: &[usize], then: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, length) in (0x50..=0x5f).cycle().zip(skipped) {
            bytes.extend([number, 0x2a, 0x4d, 0x18]);
            bytes.extend(u32::try_from(*length).unwrap().to_le_bytes());
            bytes.resize(bytes.len() + length, b'x');
        }
        [bytes.as_slice(), then].concat()
    }

    #[test]
    fn frames_that_are_skipped_hide_nothing() {
        let (zstd, lz4) = (b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18");
        for skipped in [&[4][..], &[0], &[0; 20], &[1, 0, 7], &[488]] {
            assert_eq!(
                MediaType::of(&behind_frames(skipped, zstd)),
                MediaType::Zstd
            );
            assert_eq!(MediaType::of(&behind_frames(skipped, lz4)), MediaType::Lz4);
            let garbage = behind_frames(skipped, b"\x1f\x8b\x08\0");
            assert_eq!(MediaType::of(&garbage), MediaType::Unknown);
        }
        for skipped in [501, 1000, 1_000_000] {
            let far = behind_frames(&[skipped], zstd);
            assert_eq!(MediaType::of(&far), MediaType::Zstd);
        }
        let cut = &behind_frames(&[4], zstd)[..7];
        assert_eq!(MediaType::of(cut), MediaType::Unknown);
    }

    /// The first header of a tar, with the sum in its digits.
    fn tar_header(magic: &[u8], digits: impl Fn(u32) -> String) -> Vec<u8> {
        let mut header = vec![0; 512];
        header[..9].copy_from_slice(b"app/a.txt");
        header[148..156].fill(b' ');
        header[257..257 + magic.len()].copy_from_slice(magic);
        let sum = header.iter().map(|byte| u32::from(*byte)).sum();
        let digits = digits(sum);
        header[148..148 + digits.len()].copy_from_slice(digits.as_bytes());
        header
    }

    #[test]
    fn a_plain_tar_is_known_by_the_sum_of_its_first_header() {
        for magic in [&b"ustar\x0000"[..], b"ustar  \0", b""] {
            for header in [
                tar_header(magic, |sum| format!("{sum:06o}\0 ")),
                tar_header(magic, |sum| format!("{sum:07o}\0")),
                tar_header(magic, |sum| format!(" {sum:o} ")),
            ] {
                assert_eq!(MediaType::of(&header), MediaType::Tar);
                let mut changed = header.clone();
                changed[300] ^= 1;
                assert_eq!(MediaType::of(&changed), MediaType::Unknown);
                assert_eq!(MediaType::of(&header[..511]), MediaType::Unknown);
            }
        }
        assert_eq!(MediaType::of(&[0; 1024]), MediaType::Unknown);
        assert_eq!(MediaType::of(&[b'7'; 1024]), MediaType::Unknown);
    }

    #[test]
    fn nothing_and_text_are_octet_streams() {
        assert_eq!(MediaType::of(b"").name(), "application/octet-stream");
        assert_eq!(MediaType::of(b"<html>"), MediaType::Unknown);
    }

    #[test]
    fn the_stored_name_is_the_served_name() {
        let others = [(&b""[..], MediaType::Tar), (b"", MediaType::Unknown)];
        for (_, media_type) in MAGICS.into_iter().chain(others) {
            let json = serde_json::to_value(media_type).unwrap();
            assert_eq!(json, media_type.name());
        }
    }
}
