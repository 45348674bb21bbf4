//! The header of one entry of a tar: 512 bytes, as POSIX, GNU tar and the tar before them write it. Pure.

use super::error::EntryFault;

pub(super) const BLOCK_BYTES: usize = 512;

/// The only character that counts the owner's right to run a file among the bits of a mode.
const OWNER_EXECUTES: u64 = 0o100;

pub(super) struct Header {
    /// The prefix of POSIX included.
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) kind: u8,
    pub(super) size_bytes: u64,
    pub(super) is_executable: bool,
    /// In seconds since the epoch; none if it is before that, or unreadable.
    pub(super) modified_at: Option<u64>,
}

impl Header {
    /// Reads one that is not all zeros. What it could be called if it is refused is its own [`name_of`].
    pub(super) fn parse(block: &[u8; BLOCK_BYTES]) -> Result<Self, EntryFault> {
        check_sum(block)?;
        if !matches!(
            &block[257..265],
            b"ustar\x0000" | b"ustar  \0" | [0, 0, 0, 0, 0, 0, 0, 0]
        ) {
            return Err(EntryFault::Format);
        }
        let required = |field, bytes| number(bytes).ok_or(EntryFault::NoNumber { field });
        Ok(Self {
            name: name_of(block),
            link: until_zero(&block[157..257]).to_vec(),
            kind: block[156],
            size_bytes: required("size", &block[124..136])?,
            is_executable: required("mode", &block[100..108])? & OWNER_EXECUTES != 0,
            modified_at: number(&block[136..148]),
        })
    }
}

/// The name in a header. The prefix counts in the format of POSIX alone: elsewhere other things stand there.
pub(super) fn name_of(block: &[u8; BLOCK_BYTES]) -> Vec<u8> {
    let name = until_zero(&block[..100]);
    let prefix = until_zero(&block[345..500]);
    if &block[257..263] == b"ustar\0" && !prefix.is_empty() {
        [prefix, b"/", name].concat()
    } else {
        name.to_vec()
    }
}

pub(super) fn until_zero(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    &field[..end.unwrap_or(field.len())]
}

/// Some old programs added the bytes up as signed ones.
fn check_sum(block: &[u8; BLOCK_BYTES]) -> Result<(), EntryFault> {
    let field = 148..156;
    let bytes = || {
        let bytes = block.iter().enumerate();
        bytes.map(|(at, byte)| if field.contains(&at) { b' ' } else { *byte })
    };
    let unsigned: u64 = bytes().map(u64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    match number(&block[field.clone()]) {
        Some(said) if said == unsigned || i64::try_from(said) == Ok(signed) => Ok(()),
        _ => Err(EntryFault::Checksum),
    }
}

/// Octal digits, or a number in base 256 where the first bit says so. Nothing else may stand in the field,
/// since programs differ in what they make of it.
fn number(field: &[u8]) -> Option<u64> {
    if let [0x80, rest @ ..] = field {
        let (high, low) = rest.split_at(rest.len().saturating_sub(8));
        let is_small = high.iter().all(|byte| *byte == 0);
        return is_small.then(|| low.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    }
    let is_blank = |byte: &u8| *byte == b' ';
    let start = field.iter().position(|byte| !is_blank(byte))?;
    let rest = &field[start..];
    let is_digit = |byte: &&u8| (b'0'..=b'7').contains(*byte);
    let (digits, padding) = rest.split_at(rest.iter().take_while(is_digit).count());
    let is_padding = padding.iter().all(|byte| is_blank(byte) || *byte == 0);
    let digits = str::from_utf8(digits).ok()?;
    u64::from_str_radix(digits, 8).ok().filter(|_| is_padding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_what_stands_in_its_field_and_nothing_else_may() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"00006440", Some(0o6440)),
            (b"0\0\0\0\0\0\0\0", Some(0)),
            (b"\x80\0\0\0\0\0\x01\x02", Some(0x102)),
            (
                b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
                Some(u64::MAX),
            ),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\0\0\0\0\0\0\0\0", None),
            (b"        ", None),
            (b"\x000000644", None),
            (b"0000648\0", None),
            (b"644 644\0", None),
            (b"644\x00644\0", None),
            (b"-0000644", None),
            (b"+0000644", None),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }
}
