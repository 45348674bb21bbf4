//! The record of a source: what is known of its archive, where its bytes are, and these bytes themselves if they are few.
//!
//! ```text
//! {"attempt":…,"parts":[[length,count],…],"size_bytes":…,…}\n<bytes>
//! └── the head: one line of JSON, at most 64 KiB ──────────┘   └── what no part holds: a small archive
//! ```
//!
//! The head comes first, so that who reads it gets the bytes with the same request. No link of the object store's own is
//! ever signed for a record: what is sent past the servers has a key of its own.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::errors::failed;
use super::keys::{Attempt, Role};
use super::shared::BucketStore;
use crate::source::{Facts, SourceId};
use crate::store::error::{Result, StoreError};

/// No head is longer. What is was put there by somebody else, and is not read.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// So many runs of parts fit into a head.
pub(super) const MAX_RUNS: usize = 2000;

/// No archive is longer: nor is a file, on any system. So no sum of offsets in one overflows.
const MAX_ARCHIVE_BYTES: u64 = i64::MAX.cast_unsigned();

/// What the head of a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The upload that is the archive; it tells two apart that are of the same bytes.
    pub attempt: Attempt,
    pub parts: Vec<Run>,
    /// How many bytes that are not of the archive each part has behind those that are.
    pub tail_bytes: u64,
    pub facts: Facts,
}

/// How long some parts are that follow one another, and how many these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run(pub u64, pub u64);

/// Where some bytes of an archive lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    pub place: Place,
    /// Behind the head, or in the part; to its end.
    pub range: Range<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The record itself, behind its head.
    Record,
    Part(u64),
}

#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(with = "uuid::serde::simple")]
    attempt: Attempt,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<Run>,
    #[serde(default, skip_serializing_if = "is_zero")]
    tail_bytes: u64,
    /// Of records that an earlier version wrote: all parts but the last are so long.
    #[serde(default, skip_serializing)]
    part_bytes: Option<u64>,
    #[serde(flatten)]
    facts: Facts,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

impl Record {
    pub fn encode(&self) -> Vec<u8> {
        let head = Head {
            attempt: self.attempt,
            parts: self.parts.clone(),
            tail_bytes: self.tail_bytes,
            part_bytes: None,
            facts: self.facts,
        };
        let mut text = serde_json::to_vec(&head).expect("a plain struct with text keys");
        text.push(b'\n');
        text
    }

    /// Reads a head, with or without the end of its line; `None` if it makes no sense.
    pub fn decode(head: &[u8]) -> Option<Self> {
        let head: Head = serde_json::from_slice(head).ok()?;
        let parts = match head.part_bytes {
            None => head.parts,
            Some(part_bytes) => equal_parts(part_bytes, head.facts.size_bytes)?,
        };
        let record = Self {
            attempt: head.attempt,
            parts,
            tail_bytes: head.tail_bytes,
            facts: head.facts,
        };
        record.is_sound().then_some(record)
    }

    fn is_sound(&self) -> bool {
        let mut runs = self.parts.iter();
        let sum = runs.try_fold(0_u64, |sum, Run(length, count)| {
            let is_some = *length > 0 && *count > 0;
            sum.checked_add(length.checked_mul(*count).filter(|_| is_some)?)
        });
        let size_bytes = self.facts.size_bytes;
        size_bytes <= MAX_ARCHIVE_BYTES && sum.is_some_and(|sum| sum <= size_bytes)
    }

    /// How many bytes of the archive, its first, lie behind the head.
    pub fn inline_bytes(&self) -> u64 {
        let parts = self.parts.iter().map(|Run(length, count)| length * count);
        self.facts.size_bytes - parts.sum::<u64>()
    }

    /// Where the byte at `at` lies, and those after it; `None` at the end of the archive.
    pub fn extent(&self, at: u64) -> Option<Extent> {
        let inline_bytes = self.inline_bytes();
        let extent = |place, range| Some(Extent { place, range });
        if at < inline_bytes {
            return extent(Place::Record, at..inline_bytes);
        }
        let (mut left, mut number) = (at - inline_bytes, 0);
        for Run(length, count) in &self.parts {
            if left < length * count {
                let place = Place::Part(number + left / length);
                return extent(place, left % length..*length);
            }
            left -= length * count;
            number += count;
        }
        None
    }
}

/// The parts of an archive that are `part_bytes` long each, but for the last.
fn equal_parts(part_bytes: u64, size_bytes: u64) -> Option<Vec<Run>> {
    let whole = Run(part_bytes, size_bytes.checked_div(part_bytes)?);
    let last = Run(size_bytes % part_bytes, 1);
    let parts = [whole, last].into_iter();
    Some(
        parts
            .filter(|Run(length, count)| *length > 0 && *count > 0)
            .collect(),
    )
}

/// A record that is being read: its head, what has come behind it, and what is still to come.
pub(super) struct OpenRecord {
    pub(super) record: Record,
    pub(super) head_bytes: u64,
    pub(super) come: Bytes,
    pub(super) content: BoxStream<'static, object_store::Result<Bytes>>,
}

impl fmt::Debug for OpenRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenRecord")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

impl BucketStore {
    /// What the record of `source` says; `None` if there is none.
    pub(super) async fn read_record(&self, source: SourceId) -> Result<Option<Record>> {
        let open = self.open_record(source).await?;
        Ok(open.map(|open| open.record))
    }

    /// Asks for the record of `source`, and reads its head.
    pub(super) async fn open_record(&self, source: SourceId) -> Result<Option<OpenRecord>> {
        let key = self.keys.of(source, Role::Record);
        let doing = "read a record";
        let Some(found) = self.get(&key, doing).await? else {
            return Ok(None);
        };
        let stored_bytes = found.meta.size;
        let mut content = found.into_stream();
        let mut head = Bytes::new();
        let mut head_bytes = None;
        while head_bytes.is_none()
            && head.len() <= MAX_HEAD_BYTES
            && let Some(chunk) = content.next().await
        {
            let chunk = chunk.map_err(failed(doing))?;
            let end = chunk.iter().position(|byte| *byte == b'\n');
            head_bytes = end.map(|end| head.len() + end + 1);
            head = if head.is_empty() {
                chunk
            } else {
                [head, chunk].concat().into()
            };
        }
        // One that an earlier version wrote has no end of a line, and nothing behind it.
        let head_bytes = head_bytes.unwrap_or(head.len());
        let come = head.split_off(head_bytes);
        let record = Some(head).filter(|head| head.len() <= MAX_HEAD_BYTES);
        let record = record.and_then(|head| Record::decode(&head));
        let record = record.ok_or_else(|| corrupt(&key, "it is no record"))?;
        let head_bytes = head_bytes as u64;
        if head_bytes + record.inline_bytes() != stored_bytes {
            return Err(corrupt(&key, "it is not as long as it says"));
        }
        Ok(Some(OpenRecord {
            record,
            head_bytes,
            come,
            content,
        }))
    }
}

/// What is stored at `key` is not what was once written.
pub(super) fn corrupt(key: &Path, problem: &'static str) -> StoreError {
    StoreError::Corrupt {
        path: key.as_ref().into(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: &str = r#""size_bytes":SIZE,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","media_type":"application/gzip","uploaded_at":"2026-11-28T00:00:00.000Z""#;

    /// The head that says this of an archive of `size_bytes`.
    fn head(parts: &str, size_bytes: u64) -> String {
        let facts = FACTS.replace("SIZE", &size_bytes.to_string());
        format!(r#"{{"attempt":"00112233445566778899aabbccddeeff",{parts}{facts}}}"#)
    }

    fn read(parts: &str, size_bytes: u64) -> Option<Record> {
        Record::decode(head(parts, size_bytes).as_bytes())
    }

    fn extents(record: &Record) -> Vec<(Place, Range<u64>)> {
        let mut at = 0;
        let mut found = Vec::new();
        while let Some(extent) = record.extent(at) {
            at += extent.range.end - extent.range.start;
            found.push((extent.place, extent.range));
        }
        found
    }

    #[test]
    fn the_bytes_of_an_archive_are_found_where_they_lie() {
        let record = read(r#""parts":[[4,2],[3,1]],"#, 13).unwrap();
        assert_eq!(
            extents(&record),
            [
                (Place::Record, 0..2),
                (Place::Part(0), 0..4),
                (Place::Part(1), 0..4),
                (Place::Part(2), 0..3),
            ]
        );
        let within = record.extent(8).unwrap();
        assert_eq!((within.place, within.range), (Place::Part(1), 2..4));
        assert_eq!(record.extent(13), None);
        assert_eq!(extents(&read("", 5).unwrap()), [(Place::Record, 0..5)]);
    }

    #[test]
    fn a_record_of_an_earlier_version_says_how_long_each_part_is() {
        for (size, lengths) in [(7, vec![3, 3, 1]), (6, vec![3, 3]), (2, vec![2])] {
            let record = read(r#""part_bytes":3,"#, size).unwrap();
            let extents = extents(&record).into_iter();
            let found: Vec<_> = extents.map(|(_, range)| range.end).collect();
            assert_eq!(found, lengths);
        }
    }

    #[test]
    fn parts_that_cannot_be_are_refused() {
        for parts in [
            r#""part_bytes":0,"#,
            r#""parts":[[4,3]],"#,
            r#""parts":[[0,1]],"#,
            r#""parts":[[1,0]],"#,
            r#""parts":[[18446744073709551615,2]],"#,
            r#""parts":[[18446744073709551615,1],[1,1]],"#,
        ] {
            assert_eq!(read(parts, 11), None, "{parts}");
        }
    }

    #[test]
    fn an_archive_that_no_offset_reaches_to_the_end_of_is_refused() {
        for (size, is_read) in [(MAX_ARCHIVE_BYTES, true), (MAX_ARCHIVE_BYTES + 1, false)] {
            assert_eq!(read("", size).is_some(), is_read, "{size}");
        }
    }

    #[test]
    fn as_many_runs_as_may_be_fit_into_a_head_at_their_longest() {
        let mut record = read("", 1 << 60).unwrap();
        record.tail_bytes = u64::MAX;
        let runs = (0..MAX_RUNS as u64).map(|number| Run(16_777_216 - number % 2, 99_999_999));
        record.parts = runs.collect();
        assert!(record.encode().len() <= MAX_HEAD_BYTES);
    }

    #[test]
    fn a_record_is_one_line() {
        let record = read(r#""parts":[[4,2]],"#, 8).unwrap();
        let line = record.encode();
        let end = line.iter().position(|byte| *byte == b'\n');
        assert_eq!(end, Some(line.len() - 1));
        assert_eq!(Record::decode(&line), Some(record));
    }
}
