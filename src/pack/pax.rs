//! Attributes of an entry that its header has no room for (PAX): lines of `LENGTH KEY=VALUE`. Pure.

use super::error::EntryFault;

/// Those that say what is unpacked. Others are passed over: owners, times, labels.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) name: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size_bytes: Option<u64>,
}

impl Attributes {
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, EntryFault> {
        let mut attributes = Self::default();
        while !bytes.is_empty() {
            let (line, rest) = split_line(bytes).ok_or(EntryFault::Attributes)?;
            attributes.add(line)?;
            bytes = rest;
        }
        Ok(attributes)
    }

    fn add(&mut self, line: &[u8]) -> Result<(), EntryFault> {
        let equals = line.iter().position(|byte| *byte == b'=');
        let (key, value) = line.split_at(equals.ok_or(EntryFault::Attributes)?);
        let value = &value[1..];
        match key {
            b"path" => set(&mut self.name, value.to_vec()),
            b"linkpath" => set(&mut self.link, value.to_vec()),
            b"size" => {
                let size = decimal(value).ok_or(EntryFault::NoNumber { field: "size" })?;
                set(&mut self.size_bytes, size)
            }
            _ if key.starts_with(b"GNU.sparse.") || key == b"SCHILY.realsize" => {
                Err(EntryFault::Sparse)
            }
            _ => Ok(()),
        }
    }
}

/// Programs differ in which of two counts.
fn set<T>(place: &mut Option<T>, value: T) -> Result<(), EntryFault> {
    match place.replace(value) {
        Some(_) => Err(EntryFault::Ambiguous),
        None => Ok(()),
    }
}

/// The first line without its length and its end, and the rest. The length counts the whole line.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = bytes.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..blank])?).ok()?;
    let (line, rest) = bytes.split_at_checked(length)?;
    let line = line.get(blank + 1..)?.strip_suffix(b"\n")?;
    Some((line, rest))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let is_plain = digits.iter().all(u8::is_ascii_digit);
    let digits = str::from_utf8(digits).ok()?;
    digits.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &[u8]) -> Attributes {
        Attributes {
            name: Some(name.to_vec()),
            ..Attributes::default()
        }
    }

    #[test]
    fn lines_have_the_length_that_they_say() {
        assert_eq!(Attributes::parse(b"12 path=abc\n"), Ok(named(b"abc")));
        // A value may have any bytes, ends of lines too.
        assert_eq!(Attributes::parse(b"12 path=a\nc\n"), Ok(named(b"a\nc")));
        assert_eq!(Attributes::parse(b"10 mtime=1\n12 path=abc\n").ok(), None);
        assert_eq!(
            Attributes::parse(b"11 mtime=1\n12 path=abc\n"),
            Ok(named(b"abc"))
        );
        assert_eq!(Attributes::parse(b""), Ok(Attributes::default()));
        for broken in [
            &b"11 path=abc\n"[..],
            b"13 path=abc\n",
            b"12 path=abc",
            b"012path=abc\n",
            b"+12 path=abc\n",
            b"2 \n",
            b"0 path=abc\n",
            b"8 nokey\n",
            b"99999999999999999999 path=abc\n",
        ] {
            assert_eq!(Attributes::parse(broken), Err(EntryFault::Attributes));
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (bytes, fault) in [
            (&b"9 path=a\n9 path=a\n"[..], EntryFault::Ambiguous),
            (b"9 size=1\n9 size=1\n", EntryFault::Ambiguous),
            (b"11 size=-1\n", EntryFault::NoNumber { field: "size" }),
            (b"11 size=0x\n", EntryFault::NoNumber { field: "size" }),
            (b"8 size=\n", EntryFault::NoNumber { field: "size" }),
            (b"22 GNU.sparse.major=1\n", EntryFault::Sparse),
            (b"21 SCHILY.realsize=1\n", EntryFault::Sparse),
        ] {
            assert_eq!(Attributes::parse(bytes), Err(fault));
        }
    }
}
