//! The documents of deployments, and how they are called. Pure.
//!
//! | document | made | says |
//! |---|---|---|
//! | `queue/<created at><app><n>` | before the record; deleted last of all | that something is left to do |
//! | `deployments/<app>/<n>00` | once | what was asked for: the record |
//! | `deployments/<app>/<n>01` | once; its runner keeps it fresh | who has it: the claim |
//! | `deployments/<app>/<n>02` | once | that it is to be cancelled |
//! | `deployments/<app>/<n>03` | once | how it ended |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::deployment::DeploymentId;
use crate::store::{Collection, DocumentKey, DocumentName};

/// That something of a deployment is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueueEntry {
    pub(super) created_at: Timestamp,
    pub(super) id: DeploymentId,
}

/// What stands in an entry; all that matters is its name.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct QueueNote {
    pub(super) created_at: Timestamp,
}

impl QueueEntry {
    pub(super) fn key(self) -> DocumentKey {
        let created_at = self.created_at.as_ms().to_be_bytes();
        let name = [created_at.as_slice(), &self.id.to_bytes()].concat();
        Collection::Queue.key(&name)
    }

    pub(super) fn parse(name: &DocumentName) -> Option<Self> {
        let bytes = name.to_bytes();
        let (created_at, rest) = bytes.split_first_chunk()?;
        let (app, number) = rest.split_first_chunk()?;
        Some(Self {
            created_at: Timestamp::from_ms(u64::from_be_bytes(*created_at)),
            id: DeploymentId {
                app: *app,
                number: u64::from_be_bytes(number.try_into().ok()?),
            },
        })
    }
}

/// The documents that a deployment may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Record = 0,
    Claim = 1,
    Cancellation = 2,
    End = 3,
}

impl Role {
    pub(super) const ALL: [Self; 4] = [Self::Record, Self::Claim, Self::Cancellation, Self::End];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

pub(super) fn key_of(id: DeploymentId, role: Role) -> DocumentKey {
    let mut name = id.number.to_be_bytes().to_vec();
    name.push(role as u8);
    Collection::Deployments(id.app).key(&name)
}

fn parse_name(name: &DocumentName) -> Option<(u64, Role)> {
    let bytes = name.to_bytes();
    let (number, role) = bytes.split_first_chunk()?;
    let role = Role::ALL.into_iter().find(|known| role == [*known as u8])?;
    Some((u64::from_be_bytes(*number), role))
}

/// Which documents a deployment has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PresentDocuments(u8);

impl PresentDocuments {
    pub(super) const fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Was it accepted, and has it not ended?
    pub(super) const fn is_unfinished(self) -> bool {
        self.has(Role::Record) && !self.has(Role::End)
    }
}

/// The deployments of an application, by number, and which documents each has.
#[derive(Clone, Debug, Default)]
pub(super) struct Roster(BTreeMap<u64, PresentDocuments>);

impl Roster {
    pub(super) fn note(&mut self, name: &DocumentName) {
        if let Some((number, role)) = parse_name(name) {
            self.0.entry(number).or_default().0 |= role.bit();
        }
    }

    pub(super) fn of(&self, number: u64) -> PresentDocuments {
        self.0.get(&number).copied().unwrap_or_default()
    }

    pub(super) fn last_number(&self) -> Option<u64> {
        self.0.last_key_value().map(|(last, _)| *last)
    }

    pub(super) fn next_number(&self) -> u64 {
        self.last_number().map_or(1, |last| last + 1)
    }

    /// All that has any document, the oldest first.
    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = (u64, PresentDocuments)> {
        self.0.iter().map(|(number, present)| (*number, *present))
    }

    /// Those that were accepted, the oldest first.
    pub(super) fn accepted(&self) -> impl DoubleEndedIterator<Item = u64> {
        let accepted = self.all().filter(|(_, present)| present.has(Role::Record));
        accepted.map(|(number, _)| number)
    }

    pub(super) fn unfinished(&self) -> impl DoubleEndedIterator<Item = u64> {
        let unfinished = self.all().filter(|(_, present)| present.is_unfinished());
        unfinished.map(|(number, _)| number)
    }

    /// How many nobody has claimed.
    pub(super) fn waiting(&self) -> usize {
        let waiting =
            |present: &PresentDocuments| present.is_unfinished() && !present.has(Role::Claim);
        self.0.values().filter(|present| waiting(present)).count()
    }

    /// What is left of those that ended before the `kept` newest did; and of those whose record is gone already,
    /// since somebody was deleting them.
    pub(super) fn obsolete(&self, kept: usize) -> Vec<u64> {
        let ended = self.all().rev().filter(|(_, present)| {
            // One that is being accepted has no record yet, and nothing else either.
            !present.is_unfinished()
        });
        let (mut seen, mut obsolete) = (0, Vec::new());
        for (number, present) in ended {
            if present.has(Role::Record) {
                seen += 1;
            }
            if seen > kept || !present.has(Role::Record) {
                obsolete.push(number);
            }
        }
        obsolete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> DeploymentId {
        DeploymentId {
            app: [0xab; 16],
            number,
        }
    }

    fn roster(documents: &[(u64, &[Role])]) -> Roster {
        let mut roster = Roster::default();
        for (number, roles) in documents {
            for role in *roles {
                roster.note(&key_of(id(*number), *role).name);
            }
        }
        roster
    }

    #[test]
    fn an_entry_of_the_queue_is_read_back_and_entries_sort_by_time() {
        let entry = |ms, number| QueueEntry {
            created_at: Timestamp::from_ms(ms),
            id: id(number),
        };
        let early = entry(1_700_000_000_000, 300);
        assert_eq!(QueueEntry::parse(&early.key().name), Some(early));
        assert!(early.key().name < entry(1_700_000_000_001, 1).key().name);
        assert!(early.key().name < entry(1_700_000_000_000, 301).key().name);
        for bytes in [&[0; 31][..], &[0; 33], &[]] {
            assert_eq!(QueueEntry::parse(&DocumentName::from_bytes(bytes)), None);
        }
    }

    #[test]
    fn a_roster_says_what_is_unfinished_and_what_waits() {
        let roster = roster(&[
            (1, &[Role::Record, Role::Claim, Role::End]),
            (2, &[Role::Record, Role::Claim, Role::Cancellation]),
            (3, &[Role::Record]),
        ]);
        assert_eq!(roster.unfinished().collect::<Vec<_>>(), [2, 3]);
        assert_eq!((roster.waiting(), roster.next_number()), (1, 4));
        assert!(roster.of(2).has(Role::Cancellation) && !roster.of(3).has(Role::Claim));
        assert_eq!(Roster::default().next_number(), 1);
    }

    #[test]
    fn the_newest_that_ended_are_kept_and_what_is_half_deleted_is_not() {
        let ended: &[Role] = &[Role::Record, Role::Claim, Role::End];
        let roster = roster(&[
            (1, &[Role::End]),
            (2, ended),
            (3, ended),
            (4, ended),
            (5, &[Role::Record]),
        ]);
        assert_eq!(roster.obsolete(2), [2, 1]);
        assert_eq!(roster.obsolete(3), [1]);
        assert_eq!(roster.obsolete(0), [4, 3, 2, 1]);
    }
}
