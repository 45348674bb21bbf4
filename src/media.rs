//! What kind of archive some bytes are, told from how they begin. Pure.
//!
//! Clients send a wrong `Content-Type` or none; builders trust ours. So only the bytes count.

use serde::{Deserialize, Serialize};

/// The kinds of archive that are told apart.
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
    #[serde(rename = "application/octet-stream")]
    Unknown,
}

/// How many leading bytes [`MediaType::of`] needs to see.
pub const MAGIC_BYTES: usize = 6;

const MAGICS: [(&[u8], MediaType); 7] = [
    (b"\x1f\x8b", MediaType::Gzip),
    (b"PK\x03\x04", MediaType::Zip),
    (b"PK\x05\x06", MediaType::Zip),
    (b"PK\x07\x08", MediaType::Zip),
    (b"\x28\xb5\x2f\xfd", MediaType::Zstd),
    (b"\xfd7zXZ\x00", MediaType::Xz),
    (b"BZh", MediaType::Bzip2),
];

impl MediaType {
    /// The kind of an archive that begins with `head`; [`MAGIC_BYTES`] of it are enough.
    pub fn of(head: &[u8]) -> Self {
        MAGICS
            .iter()
            .find(|(magic, _)| head.starts_with(magic))
            .map_or(Self::Unknown, |&(_, media_type)| media_type)
    }

    /// The IANA name, or the customary one where none is registered.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "application/gzip",
            Self::Zip => "application/zip",
            Self::Zstd => "application/zstd",
            Self::Xz => "application/x-xz",
            Self::Bzip2 => "application/x-bzip2",
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
            Self::Unknown => ".bin",
        }
    }
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

    #[test]
    fn nothing_and_text_are_octet_streams() {
        assert_eq!(MediaType::of(b"").name(), "application/octet-stream");
        assert_eq!(MediaType::of(b"<html>"), MediaType::Unknown);
    }

    #[test]
    fn the_stored_name_is_the_served_name() {
        for (_, media_type) in MAGICS {
            let json = serde_json::to_value(media_type).unwrap();
            assert_eq!(json, media_type.name());
        }
    }
}
