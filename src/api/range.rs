//! The range that a request asks for (RFC 9110, section 14.2). Pure.

use std::ops::Range;

use http::HeaderMap;
use http::header::RANGE;
use http_range_header::parse_range_header;

/// What was asked for makes no sense, or lies outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotSatisfiable;

/// The part that is asked for; `None` if all is to be served.
///
/// One range is served as such; of several, which the RFC lets a server ignore, all is served. A unit
/// other than bytes is ignored as it demands; a range that makes no sense is refused, since its
/// sender can do nothing good with all there is.
pub(super) fn range_of(
    headers: &HeaderMap,
    size_bytes: u64,
) -> Result<Option<Range<u64>>, NotSatisfiable> {
    let Some(value) = headers.get(RANGE) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| NotSatisfiable)?;
    let is_bytes = text
        .get(..6)
        .is_some_and(|unit| unit.eq_ignore_ascii_case("bytes="));
    if !is_bytes {
        return Ok(None);
    }
    let ranges = parse_range_header(text).and_then(|ranges| ranges.validate(size_bytes));
    match ranges.as_deref() {
        Ok([range]) => Ok(Some(*range.start()..*range.end() + 1)),
        Ok([]) | Err(_) => Err(NotSatisfiable),
        Ok(_) => Ok(None),
    }
}
