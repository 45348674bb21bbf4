//! `ARCHITECTURE.md` is held to the code: its table of edges, its list of dependencies, and what it
//! says is absent.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Edges = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn architecture() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// A source file's name below `src`, and its code without comments and without its tests.
fn sources() -> Vec<(PathBuf, String)> {
    let src = root().join("src");
    let code = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    };
    rust_files(&src)
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs") && !path.ends_with("fuzzing.rs"))
        .map(|path| (path.strip_prefix(&src).unwrap().to_owned(), code(&path)))
        .collect()
}

/// The module of the crate's root that a file belongs to.
fn module_of(file: &Path) -> String {
    let first = file.components().next().unwrap().as_os_str();
    first.to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn mentions<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = String> + 'a {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    code.split(prefix)
        .skip(1)
        .map(move |rest| rest.chars().take_while(|c| is_name(*c)).collect())
}

fn edges_of_the_code() -> Edges {
    let mut edges = Edges::new();
    for (file, code) in sources() {
        let module = module_of(&file);
        let used = edges.entry(module.clone()).or_default();
        used.extend(mentions(&code, "crate::").filter(|name| *name != module));
        if module == "main" {
            used.extend(mentions(&code, "use waystation::"));
        }
    }
    edges.remove("lib");
    edges
}

/// The rows of the table that begins with `heading`, as cells without their code marks.
fn table(heading: &str) -> Vec<Vec<String>> {
    let text = architecture();
    let lines = text.lines().skip_while(|line| !line.starts_with(heading));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().replace('`', "")).collect()
    })
    .collect()
}

#[test]
fn modules_use_each_other_as_the_table_says() {
    let words = |cell: &str| {
        let words = cell.split([',', ' ']).filter(|word| !word.is_empty());
        words
            .filter(|word| *word != "–")
            .map(str::to_owned)
            .collect()
    };
    let mut allowed = Edges::new();
    for row in table("| module | uses |") {
        for module in row[0].split(", ") {
            allowed.insert(module.to_owned(), words(&row[1]));
        }
    }
    assert_eq!(edges_of_the_code(), allowed);
}

#[test]
fn no_module_uses_one_that_uses_it() {
    let edges = edges_of_the_code();
    let mut left: BTreeSet<_> = edges.keys().cloned().collect();
    while !left.is_empty() {
        let free = left
            .iter()
            .find(|module| edges[*module].is_disjoint(&left))
            .unwrap_or_else(|| panic!("a circle among {left:?}"))
            .clone();
        left.remove(&free);
    }
}

#[test]
fn each_dependency_has_its_line_of_why() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest.split("[dependencies]").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let direct: BTreeSet<_> = section
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.to_owned())
        .collect();
    let explained: BTreeSet<_> = table("| crate | why |")
        .iter()
        .flat_map(|row| row[0].split(", ").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(direct, explained);
}

#[test]
fn it_can_be_read_in_one_sitting() {
    assert!(architecture().lines().count() <= 150);
}

#[test]
fn each_file_begins_with_what_it_is_for() {
    for folder in ["src", "tests"] {
        for path in rust_files(&root().join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("//! "), "{}", path.display());
        }
    }
}

/// The files whose code has one of `words`.
fn files_with(words: &[&str]) -> BTreeSet<String> {
    sources()
        .into_iter()
        .filter(|(_, code)| words.iter().any(|word| code.contains(word)))
        .map(|(file, _)| file.to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_wall_clock_is_read_in_one_place() {
    let readers = files_with(&["Timestamp::now(", "SystemTime::now(", "UNIX_EPOCH.elapsed("]);
    assert_eq!(readers, BTreeSet::from(["clock.rs".to_owned()]));
}

#[test]
fn the_environment_is_read_in_one_place() {
    let readers = files_with(&["env::var", "vars_os"]);
    assert_eq!(readers, BTreeSet::new(), "flags declare their variables");
    let declarers = files_with(&["env = \"WAYSTATION_"]);
    assert_eq!(declarers, BTreeSet::from(["config.rs".to_owned()]));
}

#[test]
fn statuses_are_chosen_in_one_folder() {
    for file in files_with(&["StatusCode"]) {
        assert!(
            file.starts_with("api/") || file.starts_with("server/") || file.starts_with("ops/"),
            "{file}"
        );
    }
    let error_statuses = ["BAD_REQUEST", "FORBIDDEN", "CONFLICT", "GONE", "NOT_FOUND"];
    let choosers = files_with(&error_statuses);
    let expected = ["api/answer.rs", "api/problem.rs", "server/malformed.rs"];
    let expected = expected.map(str::to_owned);
    assert_eq!(choosers, BTreeSet::from(expected));
}

#[test]
fn an_archive_is_deleted_and_a_path_is_made_in_one_place() {
    let removers = files_with(&["remove_file(", "remove_dir("]);
    for file in removers {
        assert!(
            file.starts_with("store/folder") || file == "keys.rs",
            "{file}"
        );
    }
    let joiners = files_with(&[".join(format!(", ".join(hex", ".join(\""]);
    assert_eq!(
        joiners,
        BTreeSet::from(["store/folder/layout.rs".to_owned()])
    );
}

/// The compiler forbids it in all code of the package, tests and benchmarks included.
#[test]
fn nothing_is_unsafe() {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""));
}
