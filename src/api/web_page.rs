//! The page for browsers: its files, which are part of the program, and the headers that restrict a browser to them.
//!
//! It has no rights of its own: it calls this API as every other client does. Its files stand in `src/page`.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use headers::{ETag, HeaderMapExt as _, IfNoneMatch};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, StatusCode, Uri};
use sha2::{Digest as _, Sha256};

use super::answer::{accepts_html, set_header};
use super::not_here::unknown_route;
use super::problem::Problem;

/// Nothing but these files and this API: no script or style in the page's own text, no other server, no frame, no form
/// that leads anywhere, and no way to make markup of a text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const CROSS_ORIGIN_OPENER_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-opener-policy");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// A file of the page.
struct File {
    name: &'static str,
    bytes: &'static [u8],
    etag: ETag,
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../page/", $name)).as_slice())),*]
    };
}

static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let files = files![
        "index.html",
        "style.css",
        "icon.svg",
        "ansi.js",
        "api.js",
        "archive.js",
        "ask.js",
        "choose.js",
        "clock.js",
        "copy.js",
        "drop.js",
        "element.js",
        "give.js",
        "handout.js",
        "links.js",
        "log.js",
        "main.js",
        "pace.js",
        "pack.js",
        "qr.js",
        "sender.js",
        "take.js",
        "text.js",
        "untar.js",
        "upload.js",
        "watch.js",
    ];
    let file = |(name, bytes): (&'static str, &'static [u8])| File {
        name,
        bytes,
        etag: etag_of(bytes),
    };
    files.map(file).into()
});

fn etag_of(bytes: &[u8]) -> ETag {
    let digest = hex::encode(Sha256::digest(bytes));
    let text = format!("\"{digest}\"");
    text.parse().expect("hex between quotes is an entity tag")
}

/// `GET`, `HEAD /`, `/drop` and `/get`, for a client that asks for HTML. All others get the usual 404.
pub(super) async fn show(uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    if accepts_html(&headers) {
        serve("index.html", uri, &headers).await
    } else {
        Err(unknown_route(uri).await)
    }
}

/// `GET`, `HEAD /page/{file}`: what the page consists of.
pub(super) async fn file(
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    serve(&name, uri, &headers).await
}

async fn serve(name: &str, uri: Uri, asked: &HeaderMap) -> Result<Response, Problem> {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return Err(unknown_route(uri).await);
    };
    let mut headers = HeaderMap::new();
    headers.typed_insert(file.etag.clone());
    // A server that was updated has another page: each use asks.
    set_header(&mut headers, CACHE_CONTROL, "no-cache");
    set_header(&mut headers, VARY, "Accept");
    let is_fresh = asked
        .typed_get::<IfNoneMatch>()
        .is_some_and(|known| !known.precondition_passes(&file.etag));
    if is_fresh {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    set_header(&mut headers, CONTENT_TYPE, content_type_of(file.name));
    for (name, value) in guards() {
        set_header(&mut headers, name, value);
    }
    Ok((StatusCode::OK, headers, file.bytes).into_response())
}

/// The headers that restrict a browser.
fn guards() -> [(HeaderName, &'static str); 7] {
    [
        (CONTENT_SECURITY_POLICY, POLICY),
        // Older browsers know no frame-ancestors.
        (X_FRAME_OPTIONS, "DENY"),
        // The address of the page may have a link behind its '#', and links are secrets.
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
        (
            PERMISSIONS_POLICY,
            "camera=(), geolocation=(), microphone=()",
        ),
    ]
}

fn content_type_of(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    }
}
