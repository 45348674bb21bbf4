//! Which symbolic links are packed: those that every unpacker takes, and that stay in the folder. Pure.

use super::error::{EntryFault, EntryName};
use super::names::levels_up;
use super::tree::Oddity;

/// Why a link is left out, if it is. Its folder is `depth` folders below the root.
pub(super) fn judge(target: &[u8], depth: usize) -> Option<Oddity> {
    match levels_up(target) {
        Ok(levels) if levels <= depth => None,
        Err(EntryFault::UpAfterDown(_)) => Some(Oddity::LinkGoesUpAgain(EntryName::of(target))),
        Ok(_) | Err(_) => Some(Oddity::LinkLeadsOut(EntryName::of(target))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_may_go_up_to_the_root_and_no_further() {
        for (target, depth, is_packed) in [
            ("a", 0, true),
            ("..", 0, false),
            ("../a", 1, true),
            ("../../a", 1, false),
            ("/a", 5, false),
            ("a/../b", 5, false),
        ] {
            let judged = judge(target.as_bytes(), depth);
            assert_eq!(judged.is_none(), is_packed, "{target}");
        }
    }
}
