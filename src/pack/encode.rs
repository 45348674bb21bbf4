//! Entries of a tar as they are written: in the format of GNU tar, whose long names may have any bytes. Pure.
//!
//! Owner, times and most of the modes are fixed, so that the same tree is the same bytes on every machine.

use super::header::BLOCK_BYTES;
use super::tree::TreeKind;

/// 2001-01-01 00:00 UTC, in seconds: a time of 0 makes some tools stumble.
const TIME: u64 = 978_307_200;
const NAME_BYTES: usize = 100;
const LONG_LINK: &[u8] = b"././@LongLink";
/// What twelve bytes hold as octal digits and a zero.
const OCTAL_LIMIT: u64 = 1 << 33;

/// The blocks that stand before the content of an entry. A folder's name ends with a slash.
pub(super) fn entry(name: &[u8], kind: &TreeKind) -> Vec<u8> {
    let (letter, mode, bytes, target): (u8, u64, u64, &[u8]) = match kind {
        TreeKind::Folder => (b'5', 0o755, 0, b""),
        TreeKind::File {
            bytes,
            is_executable: true,
        } => (b'0', 0o755, *bytes, b""),
        TreeKind::File { bytes, .. } => (b'0', 0o644, *bytes, b""),
        TreeKind::Link { target } => (b'2', 0o777, 0, target),
    };
    let mut blocks = Vec::with_capacity(BLOCK_BYTES);
    if name.len() > NAME_BYTES {
        long(&mut blocks, b'L', name);
    }
    if target.len() > NAME_BYTES {
        long(&mut blocks, b'K', target);
    }
    blocks.extend(header(name, letter, mode, bytes, target));
    blocks
}

/// How many zeros follow that many bytes.
pub(super) fn padding(bytes: u64) -> usize {
    let rest = bytes.wrapping_neg() % BLOCK_BYTES as u64;
    usize::try_from(rest).expect("less than a block")
}

/// The zeros at the end.
pub(super) const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

fn long(blocks: &mut Vec<u8>, letter: u8, text: &[u8]) {
    let bytes = text.len() as u64 + 1;
    blocks.extend(header(LONG_LINK, letter, 0o644, bytes, b""));
    blocks.extend(text);
    blocks.resize(blocks.len() + 1 + padding(bytes), 0);
}

fn header(name: &[u8], letter: u8, mode: u64, bytes: u64, target: &[u8]) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let cut = |text: &'_ [u8]| text.len().min(NAME_BYTES);
    block[..cut(name)].copy_from_slice(&name[..cut(name)]);
    octal(&mut block[100..107], mode);
    octal(&mut block[108..115], 0);
    octal(&mut block[116..123], 0);
    if bytes < OCTAL_LIMIT {
        octal(&mut block[124..135], bytes);
    } else {
        block[124] = 0x80;
        block[128..136].copy_from_slice(&bytes.to_be_bytes());
    }
    octal(&mut block[136..147], TIME);
    block[148..156].fill(b' ');
    block[156] = letter;
    block[157..157 + cut(target)].copy_from_slice(&target[..cut(target)]);
    block[257..265].copy_from_slice(b"ustar  \0");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..154], sum);
    block[154] = 0;
    block
}

/// Digits with zeros before them; what stands behind the field stays.
fn octal(field: &mut [u8], mut number: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 8).expect("a digit");
        number /= 8;
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::Header;
    use super::*;

    fn read(name: &[u8], kind: &TreeKind) -> Header {
        let blocks = entry(name, kind);
        let last: [u8; BLOCK_BYTES] = blocks[blocks.len() - BLOCK_BYTES..].try_into().unwrap();
        Header::parse(&last)
            .map_err(|fault| fault.to_string())
            .unwrap()
    }

    #[test]
    fn sizes_beyond_octal_digits_are_read_back() {
        for bytes in [0, 1, OCTAL_LIMIT - 1, OCTAL_LIMIT, 1 << 40] {
            let kind = TreeKind::File {
                bytes,
                is_executable: false,
            };
            assert_eq!(read(b"a", &kind).size_bytes, bytes);
        }
    }

    #[test]
    fn a_name_that_just_fits_has_no_block_of_its_own() {
        for (length, blocks) in [(100, 1), (101, 3), (511, 3), (512, 4)] {
            let name = vec![b'x'; length];
            let bytes = entry(&name, &TreeKind::Folder).len();
            assert_eq!(bytes, blocks * BLOCK_BYTES, "{length}");
        }
    }
}
