//! The query of a URL.

use axum::extract::Query;
use http::Uri;

/// What stands there under `name`, as often as it does; nothing in a query that cannot be read.
pub(super) fn values_of(uri: &Uri, name: &str) -> Vec<String> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let pairs = pairs.map(|Query(pairs)| pairs).unwrap_or_default();
    let named = pairs.into_iter().filter(|(found, _)| found == name);
    named.map(|(_, value)| value).collect()
}

/// The one that stands there under `name`; none if there are several.
pub(super) fn only_value_of(uri: &Uri, name: &str) -> Option<String> {
    let [value] = <[String; 1]>::try_from(values_of(uri, name)).ok()?;
    Some(value)
}
