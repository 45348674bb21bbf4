//! `SECURITY.md` is held to the tree: each test that it names is there. And what it says is absent is.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The tests that the page names: file and function.
fn named_tests() -> Vec<(String, String)> {
    let page = read("SECURITY.md");
    // Every second piece stands between code marks.
    let names = page.split('`').skip(1).step_by(2);
    let tests = names.filter_map(|name| name.split_once(".rs::"));
    tests
        .map(|(file, test)| {
            let folder = if file.starts_with("src/") {
                ""
            } else {
                "tests/"
            };
            (format!("{folder}{file}.rs"), test.to_owned())
        })
        .collect()
}

#[test]
fn each_test_that_the_threat_model_names_is_there() {
    // The page's first one shows what a name looks like.
    let named: BTreeSet<_> = named_tests().into_iter().skip(1).collect();
    assert!(named.len() > 50, "{}", named.len());
    for (file, test) in named {
        let text = read(&file);
        let before = text.split(&format!("fn {test}(")).next().unwrap();
        assert!(before.len() < text.len(), "{file} has no {test}");
        // Its attributes stand between it and the end of what is before it.
        let attributes = before.rsplit(['}', '{', ';']).next().unwrap();
        // Those of the suite are listed where each store is given to all of them.
        let is_listed =
            || file.ends_with("suite.rs") && read("tests/store/main.rs").contains(&test);
        let is_test = attributes.contains("test") || is_listed();
        assert!(is_test, "{file}: {test} is no test");
    }
}

#[test]
fn it_can_be_read_in_one_sitting() {
    assert!(read("SECURITY.md").lines().count() <= 180);
}

fn sources_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                sources_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn secrets_are_compared_in_constant_time_and_in_two_places_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let comparing = sources_below(&root.join("src"))
        .into_iter()
        .filter(|path| fs::read_to_string(path).unwrap().contains(".ct_eq("))
        .map(|path| path.strip_prefix(root).unwrap().to_owned());
    let expected = ["src/grant.rs", "src/service/account.rs"].map(PathBuf::from);
    assert_eq!(comparing.collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    // What cannot be compared otherwise is not.
    let secret = read("src/secret.rs");
    assert!(!secret.contains("PartialEq"), "a Secret has no ==");
}

#[test]
fn no_archive_is_looked_into() {
    let manifest = read("Cargo.toml");
    let own = manifest.split("[dependencies]").nth(1).unwrap();
    let own = own.split("\n[").next().unwrap();
    for unpacker in [
        "tar",
        "zip",
        "flate2",
        "zstd",
        "xz2",
        "bzip2",
        "async-compression",
    ] {
        assert!(!own.contains(&format!("\n{unpacker}")), "{unpacker}");
    }
    assert!(!own.contains("compression"), "no layer unpacks bodies");
}

/// The compiler then asks for the status of each new error.
#[test]
fn no_error_falls_into_a_wildcard() {
    let errors = read("src/api/problem.rs");
    let code = errors.split("#[cfg(test)]").next().unwrap();
    assert!(!code.contains("_ =>"));
    let lints = read("Cargo.toml");
    assert!(lints.contains("wildcard_enum_match_arm = \"warn\""));
}
