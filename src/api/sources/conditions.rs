//! Conditional requests and ranges, as RFC 9110 (sections 13 and 14) orders them. Pure.

use std::ops::Range;

use headers::{ETag, HeaderMapExt, IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince};
use http::header::IF_RANGE;
use http::{HeaderMap, Method};

use super::problems::{precondition_failed, range_not_satisfiable};
use crate::api::problem::Problem;
use crate::api::range::{NotSatisfiable, range_of};
use crate::source::Facts;

/// What a GET or HEAD is to be answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it: 200.
    Whole,
    /// A part: 206.
    Part(Range<u64>),
    /// The client has it: 304.
    NotModified,
}

/// The strong entity tag of an archive.
pub fn etag_text(facts: &Facts) -> String {
    format!("\"{}\"", facts.sha256)
}

pub fn last_modified_text(facts: &Facts) -> String {
    httpdate::fmt_http_date(facts.uploaded_at.as_system_time())
}

/// The preconditions of a request (RFC 9110, section 13.1). One that cannot be read is ignored.
pub(super) struct Preconditions {
    matches: Option<IfMatch>,
    none_match: Option<IfNoneMatch>,
    modified_since: Option<IfModifiedSince>,
    unmodified_since: Option<IfUnmodifiedSince>,
}

impl Preconditions {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self {
            matches: headers.typed_get(),
            none_match: headers.typed_get(),
            modified_since: headers.typed_get(),
            unmodified_since: headers.typed_get(),
        }
    }

    /// May an archive be uploaded where `stored` is? Where nothing is, all hold that do not ask for
    /// something.
    pub(super) fn allow_upload(&self, stored: Option<&Facts>) -> bool {
        match stored {
            Some(facts) => self.is_unchanged(facts) && !self.is_known(facts),
            None => self.matches.is_none(),
        }
    }

    /// Is the archive still the one that the client means?
    fn is_unchanged(&self, facts: &Facts) -> bool {
        match (&self.matches, &self.unmodified_since) {
            (Some(condition), _) => condition.precondition_passes(&etag_of(facts)),
            (None, Some(condition)) => {
                condition.precondition_passes(facts.uploaded_at.as_system_time())
            }
            (None, None) => true,
        }
    }

    /// Is the archive one that the client knows by its tag?
    fn is_known(&self, facts: &Facts) -> bool {
        let condition = self.none_match.as_ref();
        condition.is_some_and(|condition| !condition.precondition_passes(&etag_of(facts)))
    }

    /// Has the client got the archive already?
    fn is_up_to_date(&self, facts: &Facts) -> bool {
        match (&self.none_match, &self.modified_since) {
            (Some(_), _) => self.is_known(facts),
            (None, Some(condition)) => !condition.is_modified(facts.uploaded_at.as_system_time()),
            (None, None) => false,
        }
    }
}

fn etag_of(facts: &Facts) -> ETag {
    let text = etag_text(facts);
    text.parse().expect("a quoted hex text is an entity tag")
}

/// Evaluates the preconditions of a GET or HEAD, then the range.
pub fn select(method: &Method, headers: &HeaderMap, facts: &Facts) -> Result<Selection, Problem> {
    let preconditions = Preconditions::of(headers);
    if !preconditions.is_unchanged(facts) {
        return Err(precondition_failed());
    }
    if preconditions.is_up_to_date(facts) {
        return Ok(Selection::NotModified);
    }

    // Only GET has ranges (section 14.2).
    if method == Method::GET && is_range_wanted(headers, facts) {
        select_range(headers, facts.size_bytes)
    } else {
        Ok(Selection::Whole)
    }
}

/// `If-Range` asks for the range of this very archive, or else for all of it. A weak tag, or any
/// date but the exact one, is no match (section 13.1.5).
fn is_range_wanted(headers: &HeaderMap, facts: &Facts) -> bool {
    headers.get(IF_RANGE).is_none_or(|validator| {
        validator == etag_text(facts).as_str() || validator == last_modified_text(facts).as_str()
    })
}

fn select_range(headers: &HeaderMap, size_bytes: u64) -> Result<Selection, Problem> {
    match range_of(headers, size_bytes) {
        Ok(None) => Ok(Selection::Whole),
        Ok(Some(range)) => Ok(Selection::Part(range)),
        Err(NotSatisfiable) => Err(range_not_satisfiable(size_bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    use crate::clock::Timestamp;
    use crate::digest::Sha256Digest;
    use crate::media::MediaType;

    const MODIFIED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
    const EARLIER: &str = "Tue, 14 Nov 2023 22:13:19 GMT";

    fn facts(size_bytes: u64) -> Facts {
        Facts {
            size_bytes,
            sha256: Sha256Digest([0xab; 32]),
            media_type: MediaType::Gzip,
            uploaded_at: Timestamp::from_ms(1_700_000_000_123),
        }
    }

    fn selected(size_bytes: u64, sent: &[(&'static str, &str)]) -> Result<Selection, StatusCode> {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, value.parse().unwrap());
        }
        select(&Method::GET, &headers, &facts(size_bytes))
            .map_err(|problem| problem.render("id", true).status())
    }

    #[test]
    fn ranges_at_their_edges() {
        for (range, expected) in [
            ("bytes=0-0", Ok(Selection::Part(0..1))),
            ("bytes=0-9", Ok(Selection::Part(0..10))),
            ("bytes=0-10", Ok(Selection::Part(0..10))),
            ("bytes=9-", Ok(Selection::Part(9..10))),
            ("bytes=10-", Err(StatusCode::RANGE_NOT_SATISFIABLE)),
            ("bytes=-1", Ok(Selection::Part(9..10))),
            ("bytes=-10", Ok(Selection::Part(0..10))),
            ("bytes=-11", Ok(Selection::Part(0..10))),
            ("bytes=-0", Err(StatusCode::RANGE_NOT_SATISFIABLE)),
            ("bytes=5-2", Err(StatusCode::RANGE_NOT_SATISFIABLE)),
            ("bytes=", Err(StatusCode::RANGE_NOT_SATISFIABLE)),
            ("bytes=a-b", Err(StatusCode::RANGE_NOT_SATISFIABLE)),
            (
                "bytes=0-99999999999999999999999",
                Ok(Selection::Part(0..10)),
            ),
            ("BYTES=1-2", Ok(Selection::Part(1..3))),
            ("bytes=0-0,2-3", Ok(Selection::Whole)),
            ("lines=0-1", Ok(Selection::Whole)),
        ] {
            assert_eq!(selected(10, &[("range", range)]), expected, "{range}");
        }
    }

    #[test]
    fn a_number_in_a_range_has_thirty_digits_at_most() {
        let range_to = |digits| {
            let range = format!("bytes=0-{}", "9".repeat(digits));
            selected(10, &[("range", range.as_str())])
        };
        assert_eq!(range_to(30), Ok(Selection::Part(0..10)));
        assert_eq!(range_to(31), Err(StatusCode::RANGE_NOT_SATISFIABLE));
    }

    #[test]
    fn if_range_takes_the_exact_tag_or_date_only() {
        let tag = etag_text(&facts(10));
        for (validator, expected) in [
            (tag.clone(), Selection::Part(1..2)),
            (MODIFIED.to_owned(), Selection::Part(1..2)),
            (format!("W/{tag}"), Selection::Whole),
            (EARLIER.to_owned(), Selection::Whole),
            ("\"other\"".to_owned(), Selection::Whole),
        ] {
            let sent = [("range", "bytes=1-1"), ("if-range", validator.as_str())];
            assert_eq!(selected(10, &sent), Ok(expected), "{validator}");
        }
    }

    #[test]
    fn preconditions() {
        let tag = etag_text(&facts(10));
        let weak = format!("W/{tag}");
        let list = format!("\"x\", {tag}");
        for (name, value, expected) in [
            ("if-none-match", tag.as_str(), Ok(Selection::NotModified)),
            ("if-none-match", &weak, Ok(Selection::NotModified)),
            ("if-none-match", &list, Ok(Selection::NotModified)),
            ("if-none-match", "*", Ok(Selection::NotModified)),
            ("if-none-match", "\"x\"", Ok(Selection::Whole)),
            ("if-modified-since", MODIFIED, Ok(Selection::NotModified)),
            ("if-modified-since", EARLIER, Ok(Selection::Whole)),
            ("if-modified-since", "yesterday", Ok(Selection::Whole)),
            ("if-match", &tag, Ok(Selection::Whole)),
            ("if-match", "\"x\"", Err(StatusCode::PRECONDITION_FAILED)),
            ("if-match", &weak, Err(StatusCode::PRECONDITION_FAILED)),
            ("if-unmodified-since", MODIFIED, Ok(Selection::Whole)),
            (
                "if-unmodified-since",
                EARLIER,
                Err(StatusCode::PRECONDITION_FAILED),
            ),
        ] {
            assert_eq!(selected(10, &[(name, value)]), expected, "{name}: {value}");
        }
    }

    #[test]
    fn an_upload_is_held_to_its_preconditions_where_something_is_and_where_nothing_is() {
        let tag = etag_text(&facts(10));
        for (name, value, on_something, on_nothing) in [
            ("if-none-match", "*", false, true),
            ("if-none-match", tag.as_str(), false, true),
            ("if-none-match", "\"x\"", true, true),
            ("if-match", "*", true, false),
            ("if-match", &tag, true, false),
            ("if-match", "\"x\"", false, false),
            ("if-unmodified-since", MODIFIED, true, true),
            ("if-unmodified-since", EARLIER, false, true),
            ("if-modified-since", MODIFIED, true, true),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(name, value.parse().unwrap());
            let preconditions = Preconditions::of(&headers);
            let stored = facts(10);
            let allowed = [Some(&stored), None].map(|stored| preconditions.allow_upload(stored));
            assert_eq!(allowed, [on_something, on_nothing], "{name}: {value}");
        }
    }
}
