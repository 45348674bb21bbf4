//! The rules of the repository itself: `ARCHITECTURE.md`, `SECURITY.md` and the layout of the tests are held
//! to the code.
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

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
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
    let text = read("ARCHITECTURE.md");
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

/// The names of the direct dependencies.
fn dependencies() -> BTreeSet<String> {
    let manifest = read("Cargo.toml");
    let section = manifest.split("[dependencies]").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let named = section.lines().filter_map(|line| line.split_once(" = "));
    named.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn each_dependency_has_its_line_of_why() {
    let direct = dependencies();
    let explained: BTreeSet<_> = table("| crate | why |")
        .iter()
        .flat_map(|row| row[0].split(", ").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(direct, explained);
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

/// What a handler may choose by itself.
const SUCCESSES: [&str; 5] = [
    "OK",
    "CREATED",
    "NO_CONTENT",
    "PARTIAL_CONTENT",
    "NOT_MODIFIED",
];

#[test]
fn the_status_of_an_error_is_chosen_among_the_problems_of_the_api_whatever_it_is() {
    let is_chooser = |code: &str| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let named = code.split("StatusCode::").skip(1);
        let mut named = named.map(|rest| rest.split(|c| !is_name(c)).next().unwrap());
        let numbered = code.split(".status(").skip(1);
        let mut numbered = numbered.map(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        named.any(|name| !SUCCESSES.contains(&name)) || numbered.any(|is_number| is_number)
    };
    let found = sources().into_iter().filter(|(_, code)| is_chooser(code));
    for (file, _) in found {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let is_problem = file.starts_with("api") && stem.contains("problem");
        // It answers those who watch the service, not its clients.
        let is_ours = file.ends_with("ops/admin.rs");
        assert!(is_problem || is_ours, "{}", file.display());
    }
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
    let makers = ["store/bucket/keys.rs", "store/folder/layout.rs"];
    assert_eq!(joiners, BTreeSet::from(makers.map(str::to_owned)));
}

/// The compiler forbids it in all code of the package, tests and benchmarks included.
#[test]
fn nothing_is_unsafe() {
    let manifest = read("Cargo.toml");
    assert!(manifest.contains("unsafe_code = \"forbid\""));
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
fn secrets_are_compared_in_constant_time_and_in_two_places_only() {
    let expected = ["grant.rs", "service/account.rs"].map(str::to_owned);
    assert_eq!(files_with(&[".ct_eq("]), BTreeSet::from(expected));
    // What cannot be compared otherwise is not.
    let secret = read("src/secret.rs");
    assert!(!secret.contains("PartialEq"), "a Secret has no ==");
}

#[test]
fn no_archive_is_looked_into() {
    let unpackers = ["tar", "zip", "flate2", "zstd", "xz2", "bzip2"];
    for name in dependencies() {
        let unpacks = unpackers.contains(&name.as_str()) || name.contains("compression");
        assert!(!unpacks, "{name}");
    }
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

/// So that a name in a page, or in what a failed test prints, is one file.
#[test]
fn no_two_files_of_the_tests_have_one_name() {
    let mut seen = BTreeSet::from(["main.rs".to_owned()]);
    for path in rust_files(&root().join("tests")) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name == "main.rs" || seen.insert(name), "{}", path.display());
    }
}
