//! The page for browsers, as it is served: to whom, with which headers, and what its files never have.

use std::fs;

use axum::body::Body;
use http::Method;

use crate::app::{Answer, Settings, TestApp};

/// What a browser sends for a page.
const BROWSER: (&str, &str) = (
    "accept",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
);
const PAGES: [&str; 3] = ["/", "/drop", "/get"];
/// Of the whole page, uncompressed.
const MOST_BYTES: u64 = 80 * 1024;

impl TestApp {
    async fn visit(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.call(method, path, headers, Body::empty()).await
    }

    async fn browse(&self, path: &str) -> Answer {
        self.visit(Method::GET, path, &[BROWSER]).await
    }
}

/// Name and text of each file.
fn files() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/page");
    let files = fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    });
    files.collect()
}

#[tokio::test]
async fn a_browser_is_served_the_page_and_every_file_of_it() {
    let app = TestApp::new().await;
    let index = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/page/index.html"));
    let index = index.unwrap();
    for path in PAGES {
        let page = app.browse(path).await;
        assert_eq!(page.status, 200);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.body, index);
    }
    for (name, text) in files() {
        let file = app.visit(Method::GET, &format!("/page/{name}"), &[]).await;
        assert_eq!(
            (file.status.as_u16(), &file.body[..]),
            (200, text.as_bytes()),
            "{name}"
        );
        let expected = match name.rsplit_once('.').unwrap().1 {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("{other}"),
        };
        assert_eq!(file.header("content-type"), expected);
    }
}

#[tokio::test]
async fn whatever_else_asks_is_told_what_it_always_was() {
    let app = TestApp::new().await;
    let (html, json) = ([BROWSER], [("accept", "application/json")]);
    let any = [("accept", "*/*")];
    for path in PAGES {
        for headers in [&[][..], &json, &any] {
            let answer = app.visit(Method::GET, path, headers).await;
            assert!(
                answer
                    .error(404, &["error"])
                    .starts_with("there is nothing at this path")
            );
        }
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            app.visit(method, path, &html).await.error(405, &["error"]);
        }
    }
    for path in [
        "/page",
        "/page/",
        "/page/none.js",
        "/page/../main.js",
        "/page/%2e%2e%2fapi.rs",
        "/index.html",
        "/get/",
    ] {
        app.browse(path).await.error(404, &["error"]);
    }
    let post = app.visit(Method::POST, "/page/main.js", &html).await;
    post.error(405, &["error"]);
}

#[tokio::test]
async fn without_a_page_a_browser_is_told_the_same() {
    let app = TestApp::with(Settings {
        has_page: false,
        ..Settings::default()
    });
    let app = app.await;
    for path in PAGES.iter().chain(&["/page/main.js"]) {
        app.browse(path).await.error(404, &["error"]);
    }
}

#[tokio::test]
async fn a_head_has_the_headers_and_what_a_browser_has_is_not_sent_again() {
    let app = TestApp::new().await;
    for path in PAGES.iter().chain(&["/page/main.js"]) {
        let whole = app.browse(path).await;
        let head = app.visit(Method::HEAD, path, &[BROWSER]).await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
        let length = whole.body.len().to_string();
        assert_eq!(head.header("content-length"), length);
        let etag = whole.header("etag").to_owned();
        assert_eq!(head.header("etag"), etag);
        for known in [
            etag.as_str(),
            &format!("W/{etag}"),
            &format!("\"other\", {etag}"),
            "*",
        ] {
            let headers = [BROWSER, ("if-none-match", known)];
            let again = app.visit(Method::GET, path, &headers).await;
            assert_eq!(
                (again.status.as_u16(), again.body.len()),
                (304, 0),
                "{known}"
            );
            assert_eq!(again.header("etag"), etag);
        }
        let headers = [BROWSER, ("if-none-match", "\"other\"")];
        let other = app.visit(Method::GET, path, &headers).await;
        assert_eq!(other.status, 200);
    }
}

#[tokio::test]
async fn a_browser_is_held_to_these_files_and_this_server() {
    let app = TestApp::new().await;
    for path in PAGES.iter().chain(&["/page/main.js", "/page/style.css"]) {
        let answer = app.browse(path).await;
        for (name, value) in [
            ("cache-control", "no-cache"),
            ("vary", "Accept"),
            (
                "content-security-policy",
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
            ),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            (
                "permissions-policy",
                "camera=(), geolocation=(), microphone=()",
            ),
        ] {
            assert_eq!(answer.header(name), value, "{path}");
        }
        assert!(!answer.headers.contains_key("set-cookie"));
    }
}

#[test]
fn the_page_is_small_and_needs_nothing_from_elsewhere() {
    let bytes: u64 = files().iter().map(|(_, text)| text.len() as u64).sum();
    assert!(bytes <= MOST_BYTES, "{bytes} bytes");
    for (name, text) in files() {
        // The name of a vocabulary is no address that is asked.
        let text = text.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http://", "https://", "src=\"//", "url(", "@import"] {
            let is_example = text.contains("placeholder=\"https://…");
            let allowed = usize::from(is_example && outside == "https://");
            assert_eq!(
                text.matches(outside).count(),
                allowed,
                "{name} has {outside}"
            );
        }
    }
}

#[test]
fn no_file_of_the_page_stores_anything_or_makes_markup_of_text() {
    for (name, text) in files() {
        for word in [
            "localStorage",
            "sessionStorage",
            "indexedDB",
            ".cookie",
            "caches.",
            "serviceWorker",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "DOMParser",
            "srcdoc",
            "postMessage",
        ] {
            assert!(!text.contains(word), "{name} has {word}");
        }
    }
}

#[test]
fn no_script_and_no_style_stands_in_the_text_of_the_page() {
    let mut files = files().into_iter();
    let (_, text) = files.find(|(name, _)| name == "index.html").unwrap();
    let scripts: Vec<_> = text.split("<script").skip(1).collect();
    assert_eq!(scripts.len(), 1);
    assert!(scripts[0].starts_with(" type=\"module\" src=\"page/main.js\"></script>"));
    for inline in [
        "<style",
        " style=",
        "javascript:",
        "<base",
        "<iframe",
        "<object",
        "<embed",
    ] {
        assert!(!text.contains(inline), "{inline}");
    }
    let handler = text.split(" on").skip(1).find(|rest| {
        let name = rest.split('=').next().unwrap();
        rest.contains('=') && !name.is_empty() && name.chars().all(char::is_alphabetic)
    });
    assert_eq!(handler, None);
}

/// So that a proxy may put a path before all of it.
#[test]
fn all_addresses_in_the_page_are_relative() {
    for (name, text) in files() {
        for absolute in [
            "href=\"/",
            "src=\"/",
            "from \"/",
            "URL(\"/",
            "fetch(\"/",
            "\"/v1",
        ] {
            assert!(!text.contains(absolute), "{name} has {absolute}");
        }
    }
}
