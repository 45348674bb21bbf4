//! Conditional requests and ranges, as RFC 9110 (sections 13 and 14) orders them. Pure.

use std::ops::Range;

use headers::{ETag, HeaderMapExt, IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince};
use http::header::{IF_RANGE, RANGE};
use http::{HeaderMap, Method};
use http_range_header::parse_range_header;

use super::super::problem::ApiError;
use crate::source::Facts;

/// What a GET or HEAD is to be answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) enum Selection {
    /// All of it: 200.
    Whole,
    /// A part: 206.
    Part(Range<u64>),
    /// The client has it: 304.
    NotModified,
}

/// The strong entity tag of an archive.
pub(in crate::api) fn etag_text(facts: &Facts) -> String {
    format!("\"{}\"", facts.sha256)
}

/// The value of `Last-Modified`.
pub(in crate::api) fn last_modified_text(facts: &Facts) -> String {
    httpdate::fmt_http_date(facts.uploaded_at.as_system_time())
}

/// Evaluates the preconditions, then the range.
pub(in crate::api) fn select(
    method: &Method,
    headers: &HeaderMap,
    facts: &Facts,
) -> Result<Selection, ApiError> {
    let etag: ETag = etag_text(facts)
        .parse()
        .expect("a quoted hex text is an entity tag");
    let modified_at = facts.uploaded_at.as_system_time();

    if let Some(condition) = headers.typed_get::<IfMatch>() {
        if !condition.precondition_passes(&etag) {
            return Err(ApiError::PreconditionFailed);
        }
    } else if let Some(condition) = headers.typed_get::<IfUnmodifiedSince>()
        && !condition.precondition_passes(modified_at)
    {
        return Err(ApiError::PreconditionFailed);
    }

    if let Some(condition) = headers.typed_get::<IfNoneMatch>() {
        if !condition.precondition_passes(&etag) {
            return Ok(Selection::NotModified);
        }
    } else if let Some(condition) = headers.typed_get::<IfModifiedSince>()
        && !condition.is_modified(modified_at)
    {
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

/// One range is served as such; of several, which the RFC lets a server ignore, all is served. A unit
/// other than bytes is ignored as it demands; a range that makes no sense is refused, since its
/// sender can do nothing good with a whole archive.
fn select_range(headers: &HeaderMap, size_bytes: u64) -> Result<Selection, ApiError> {
    let Some(value) = headers.get(RANGE) else {
        return Ok(Selection::Whole);
    };
    let unsatisfiable = ApiError::UnsatisfiableRange { size_bytes };
    let Ok(text) = value.to_str() else {
        return Err(unsatisfiable);
    };
    let is_bytes = text
        .get(..6)
        .is_some_and(|unit| unit.eq_ignore_ascii_case("bytes="));
    if !is_bytes {
        return Ok(Selection::Whole);
    }
    let ranges = parse_range_header(text).and_then(|ranges| ranges.validate(size_bytes));
    match ranges.as_deref() {
        Ok([range]) => Ok(Selection::Part(*range.start()..*range.end() + 1)),
        Ok([]) | Err(_) => Err(unsatisfiable),
        Ok(_) => Ok(Selection::Whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    use crate::api::answer::{ErrorForm, Telling};
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
        select(&Method::GET, &headers, &facts(size_bytes)).map_err(|error| {
            let telling = Telling {
                request_id: "id",
                now: Timestamp::from_ms(0),
                form: ErrorForm::Json,
            };
            error.render(&telling).status()
        })
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
    fn an_empty_archive_has_no_range() {
        assert_eq!(
            selected(0, &[("range", "bytes=0-")]),
            Err(StatusCode::RANGE_NOT_SATISFIABLE)
        );
        assert_eq!(selected(0, &[]), Ok(Selection::Whole));
    }

    #[test]
    fn head_has_no_ranges() {
        let mut headers = HeaderMap::new();
        headers.append("range", "bytes=0-0".parse().unwrap());
        let selection = select(&Method::HEAD, &headers, &facts(10)).unwrap();
        assert_eq!(selection, Selection::Whole);
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
}
