//! What an entry may be called, and where a link may lead. Pure.

use super::error::{EntryFault, EntryName};
use super::limits::UnpackLimits;

/// What file systems take between two slashes.
const PART_BYTES: usize = 255;
/// What the system takes as the target of a link.
const TARGET_BYTES: usize = 4095;

/// The parts of a name, without the `.` and the slashes that mean nothing; none for the root itself.
pub(super) fn parts(name: &[u8], limits: UnpackLimits) -> Result<Vec<&[u8]>, EntryFault> {
    if name.is_empty() {
        return Err(EntryFault::NoName);
    }
    if name.len() > limits.name_bytes {
        return Err(EntryFault::NameTooLong {
            bytes: name.len(),
            limit_bytes: limits.name_bytes,
        });
    }
    if name.starts_with(b"/") {
        return Err(EntryFault::Absolute);
    }
    if name.contains(&0) {
        return Err(EntryFault::ZeroByte);
    }
    let parts: Vec<_> = meaningful(name).collect();
    if parts.contains(&&b".."[..]) {
        return Err(EntryFault::Parent);
    }
    if let Some(part) = parts.iter().find(|part| part.len() > PART_BYTES) {
        return Err(EntryFault::PartTooLong {
            bytes: part.len(),
            limit_bytes: PART_BYTES,
        });
    }
    if parts.len() > limits.depth {
        return Err(EntryFault::TooDeep {
            depth: parts.len(),
            limit: limits.depth,
        });
    }
    Ok(parts)
}

fn meaningful(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parts = name.split(|byte| *byte == b'/');
    parts.filter(|part| !part.is_empty() && *part != b".")
}

/// How many folders up the target of a symbolic link goes before it goes down.
///
/// After a name it may not go up again: that name could be another link, and the way up from where that one
/// leads could lead out, though each of the two looks harmless.
pub(super) fn levels_up(target: &[u8]) -> Result<usize, EntryFault> {
    if target.is_empty() {
        return Err(EntryFault::LinkToNothing);
    }
    if target.contains(&0) {
        return Err(EntryFault::ZeroByte);
    }
    if target.len() > TARGET_BYTES {
        return Err(EntryFault::NameTooLong {
            bytes: target.len(),
            limit_bytes: TARGET_BYTES,
        });
    }
    if target.starts_with(b"/") {
        return Err(EntryFault::LeadsOut(EntryName::of(target)));
    }
    let is_up = |part: &&[u8]| *part == b"..";
    let levels = meaningful(target).take_while(is_up).count();
    if meaningful(target).skip(levels).any(|part| is_up(&part)) {
        return Err(EntryFault::UpAfterDown(EntryName::of(target)));
    }
    Ok(levels)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: UnpackLimits = UnpackLimits {
        unpacked_bytes: 0,
        entries: 0,
        name_bytes: 4096,
        depth: 100,
    };

    fn joined(name: &str) -> Result<String, EntryFault> {
        let parts = parts(name.as_bytes(), LIMITS)?;
        Ok(String::from_utf8(parts.join(&b'/')).unwrap())
    }

    #[test]
    fn a_name_is_its_parts_however_it_is_spelled() {
        for (name, parts) in [
            ("a/b", "a/b"),
            ("./a/b", "a/b"),
            ("a//b/", "a/b"),
            ("a/./b/.", "a/b"),
            ("./", ""),
            ("..a/b../...", "..a/b../..."),
            ("a b\n/ü", "a b\n/ü"),
        ] {
            assert_eq!(joined(name).as_deref(), Ok(parts));
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for (name, fault) in [
            ("", EntryFault::NoName),
            ("/", EntryFault::Absolute),
            ("/etc/passwd", EntryFault::Absolute),
            ("..", EntryFault::Parent),
            ("a/../b", EntryFault::Parent),
            ("a/..", EntryFault::Parent),
            ("a\0b", EntryFault::ZeroByte),
        ] {
            assert_eq!(joined(name), Err(fault), "{name}");
        }
    }

    #[test]
    fn each_limit_of_a_name_takes_the_limit_and_not_one_more() {
        let long = |bytes: usize| "ab/".repeat(bytes / 3) + &"x".repeat(bytes % 3);
        let limits = UnpackLimits {
            depth: 5000,
            ..LIMITS
        };
        assert!(parts(long(4096).as_bytes(), limits).is_ok());
        let too_long = EntryFault::NameTooLong {
            bytes: 4097,
            limit_bytes: 4096,
        };
        assert_eq!(parts(long(4097).as_bytes(), limits), Err(too_long));
        assert!(joined(&"x".repeat(255)).is_ok());
        let too_long = EntryFault::PartTooLong {
            bytes: 256,
            limit_bytes: 255,
        };
        assert_eq!(joined(&format!("a/{}", "x".repeat(256))), Err(too_long));
        assert!(joined(&"a/".repeat(100)).is_ok());
        let too_deep = EntryFault::TooDeep {
            depth: 101,
            limit: 100,
        };
        assert_eq!(joined(&"a/".repeat(101)), Err(too_deep));
    }

    #[test]
    fn a_link_goes_up_only_at_its_beginning() {
        for (target, levels) in [
            ("a", 0),
            (".", 0),
            ("../a", 1),
            ("./.././../a/b", 2),
            ("..", 1),
        ] {
            assert_eq!(levels_up(target.as_bytes()), Ok(levels), "{target}");
        }
        for target in ["a/..", "../a/../b", "a/b/../../c"] {
            let fault = EntryFault::UpAfterDown(EntryName::of(target.as_bytes()));
            assert_eq!(levels_up(target.as_bytes()), Err(fault));
        }
        let absolute = EntryFault::LeadsOut(EntryName::of(b"/etc"));
        assert_eq!(levels_up(b"/etc"), Err(absolute));
        assert_eq!(levels_up(b""), Err(EntryFault::LinkToNothing));
        assert_eq!(levels_up(b"a\0"), Err(EntryFault::ZeroByte));
        assert!(levels_up(&[b'a'; 4095]).is_ok());
        assert!(levels_up(&[b'a'; 4096]).is_err());
    }
}
