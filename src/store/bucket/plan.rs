//! How an archive is cut into parts, in pieces of memory. One that says that it is small is a single one. In others they grow
//! from the first on, so that the object store gets something to do at once; and they shrink towards the end, if
//! that is known, so that little is left to be put when the client has sent all.
//!
//! ```text
//! 100 pieces:  2 4 8 16 16 16 16 11 6 3 2      unknown:  1 2 4 8 16 16 16 …
//! ```

use super::filling::PIECE_BYTES;

/// No part is longer, in pieces of memory.
pub(super) const LONGEST: u64 = 16;
/// An archive of no more pieces is not divided, if there is memory for that.
const SMALL: u64 = 10;

/// Is an archive that long put whole, if there is memory for that?
pub(super) const fn is_small(declared_bytes: u64) -> bool {
    declared_bytes <= SMALL * PIECE_BYTES as u64
}

/// Where the parts of one upload end.
#[derive(Debug)]
pub(super) struct Plan {
    declared_bytes: Option<u64>,
    /// How many pieces the parts that were cut have.
    cut: u64,
    /// How long the next part is, at most.
    grown: u64,
    /// What memory was there for when it was short: no part is longer from then on.
    limit: u64,
}

impl Plan {
    pub(super) const fn new(declared_bytes: Option<u64>) -> Self {
        Self {
            declared_bytes,
            cut: 0,
            // One that is all there is takes one request, if it does not turn out to be longer.
            grown: if declared_bytes.is_some() { 2 } else { 1 },
            limit: LONGEST,
        }
    }

    /// How long the next part is, in pieces; the last one is cut short by the end of the archive.
    pub(super) fn next(&self) -> u64 {
        let grown = self.grown.min(self.limit);
        let Some(declared_bytes) = self.declared_bytes else {
            return grown;
        };
        let pieces = declared_bytes.div_ceil(PIECE_BYTES as u64);
        if self.cut == 0 && is_small(declared_bytes) {
            return pieces;
        }
        match pieces.saturating_sub(self.cut) {
            0 | 1 => 1,
            2 => grown.min(2),
            left => grown.min(left.div_ceil(2)),
        }
    }

    /// Notes that a part of so many pieces was cut; it is shorter than was planned where memory was short.
    pub(super) fn cut(&mut self, pieces: u64) {
        if pieces < self.next() {
            self.limit = pieces;
        }
        self.cut += pieces;
        self.grown = (self.grown * 2).min(LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = PIECE_BYTES as u64;

    /// The lengths of all parts of an archive, in pieces.
    fn lengths(declared_bytes: u64) -> Vec<u64> {
        let mut plan = Plan::new(Some(declared_bytes));
        let mut left = declared_bytes.div_ceil(PIECE);
        let mut lengths = Vec::new();
        while left > 0 {
            let next = plan.next().min(left);
            plan.cut(next);
            lengths.push(next);
            left -= next;
        }
        lengths
    }

    #[test]
    fn parts_grow_and_shrink_towards_the_end() {
        for (pieces, expected) in [
            (1, vec![1]),
            (10, vec![10]),
            (11, vec![2, 4, 3, 2]),
            (16, vec![2, 4, 5, 3, 2]),
            (64, vec![2, 4, 8, 16, 16, 9, 5, 2, 2]),
            (100, vec![2, 4, 8, 16, 16, 16, 16, 11, 6, 3, 2]),
        ] {
            assert_eq!(lengths(pieces * PIECE), expected);
            assert_eq!(lengths(pieces * PIECE - 1), expected);
        }
    }

    #[test]
    fn parts_of_an_unknown_length_double() {
        let mut plan = Plan::new(None);
        for expected in [1, 2, 4, 8, 16, 16] {
            assert_eq!(plan.next(), expected);
            plan.cut(expected);
        }
    }

    #[test]
    fn where_memory_was_short_no_part_is_longer_from_then_on() {
        let mut plan = Plan::new(Some(100 * PIECE));
        for (planned, cut) in [(2, 2), (4, 3), (3, 3), (3, 1), (1, 1)] {
            assert_eq!(plan.next(), planned);
            plan.cut(cut);
        }
    }

    #[test]
    fn an_archive_that_is_longer_than_it_said_goes_on_in_short_parts() {
        let mut plan = Plan::new(Some(2 * PIECE));
        for expected in [2, 1, 1] {
            assert_eq!(plan.next(), expected);
            plan.cut(expected);
        }
    }
}
