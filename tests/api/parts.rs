//! Uploads in parts, in both dialects: each row of what is answered, and of what is refused.

mod draft;
mod engine;
mod in_trouble;
mod tus;

use axum::body::Body;
use http::Method;

use crate::app::{Answer, Links, TestApp};

/// An archive that a link takes in parts, and a name for each step.
pub(crate) struct Attempt<'a> {
    pub(crate) app: &'a TestApp,
    pub(crate) url: String,
}

impl Attempt<'_> {
    pub(crate) async fn call(
        &self,
        method: Method,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        self.app.call(method, &self.url, headers, body).await
    }
}

/// The path and query of a new attempt, which is the link's, and more.
pub(crate) fn location_of(links: &Links, begun: &Answer) -> String {
    assert_eq!(begun.status, 201, "{begun:?}");
    let url = begun.header("location");
    let url = url.strip_prefix("http://127.0.0.1:8080").unwrap();
    assert!(
        url.starts_with(&format!("{}&attempt=", links.upload)),
        "{url}"
    );
    url.to_owned()
}

/// What is gone is not said to be at offset 0.
pub(crate) fn assert_unknown(answer: &Answer) {
    answer.error(404, &["error", "resource"]);
    assert!(!answer.headers.contains_key("upload-offset"), "{answer:?}");
}
