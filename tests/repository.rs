//! The rules of the repository itself: `ARCHITECTURE.md`, `docs/modules.md`, `SECURITY.md` and the layout of the
//! tests are held to the code.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use waystation_shape::{Edges, SourceTree, cycles, direct_dependencies};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    waystation_shape::rust_files(folder).unwrap()
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
        .filter(|path| !path.ends_with("tests.rs"))
        .map(|path| (path.strip_prefix(&src).unwrap().to_owned(), code(&path)))
        .collect()
}

fn source_tree() -> SourceTree {
    SourceTree::read(&root().join("src"))
}

/// The module of the crate's root that a file belongs to.
fn module_of(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

/// Which modules of the crate's root each of them uses.
fn edges_between_modules(tree: &SourceTree) -> Edges<'_> {
    let mut edges = Edges::new();
    for (file, used) in tree.edges() {
        let module = module_of(file);
        let used = used.into_iter().map(module_of);
        let used = used.filter(|used| *used != module);
        edges.entry(module).or_default().extend(used);
    }
    edges.remove("lib");
    edges
}

/// The rows of the table in `page` that begins with `heading`, as cells without their code marks.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let text = read(page);
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
    let tree = source_tree();
    let rows = table("docs/modules.md", "| module | uses |");
    let mut allowed = Edges::new();
    for row in &rows {
        let used = row[1].split(", ").filter(|used| *used != "–");
        let used: BTreeSet<_> = used.collect();
        for module in row[0].split(", ") {
            allowed.insert(module, used.clone());
        }
    }
    let edges = edges_between_modules(&tree);
    for module in edges.keys().chain(allowed.keys()) {
        let (uses, may_use) = (edges.get(module), allowed.get(module));
        assert_eq!(
            uses, may_use,
            "what `{module}` uses, and what docs/modules.md says"
        );
    }
}

#[test]
fn no_module_uses_one_that_uses_it() {
    let tree = source_tree();
    let edges = tree.edges();
    let mut faults = String::new();
    for cycle in cycles(&edges_between_modules(&tree)) {
        writeln!(faults, "\n{} -> {}", cycle.join(" -> "), cycle[0]).unwrap();
        let nexts = cycle.iter().cycle().skip(1);
        let steps: BTreeSet<_> = cycle.iter().copied().zip(nexts.copied()).collect();
        for (file, used) in &edges {
            for used in used {
                if steps.contains(&(module_of(file), module_of(used))) {
                    writeln!(faults, "  {file} uses {used}").unwrap();
                }
            }
        }
    }
    assert!(faults.is_empty(), "these modules use each other:\n{faults}");
}

#[test]
fn no_file_uses_one_that_uses_it() {
    let mut faults = String::new();
    for cycle in cycles(&source_tree().edges()) {
        writeln!(faults, "  {} -> {}", cycle.join(" -> "), cycle[0]).unwrap();
    }
    assert!(
        faults.is_empty(),
        "these files use each other, so what they share needs a file of its own:\n{faults}"
    );
}

#[test]
fn each_dependency_has_its_line_of_why() {
    let manifest = read("Cargo.toml");
    let direct = direct_dependencies(&manifest).into_iter();
    let direct: BTreeSet<_> = direct.map(str::to_owned).collect();
    let explained: BTreeSet<_> = table("ARCHITECTURE.md", "| crate | why |")
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
    let readers = files_with(&["env::var", "vars_os", "from_env("]);
    // Object stores have variables of their own.
    let expected = ["config.rs", "config/client.rs", "store/bucket/client.rs"].map(str::to_owned);
    assert_eq!(readers, BTreeSet::from(expected));
    let declarers = files_with(&["env = \"", ".env("]);
    // Two say what the processes that they start see.
    let expected = ["cli/deploy_runner.rs", "config.rs", "runner/command.rs"].map(str::to_owned);
    assert_eq!(declarers, BTreeSet::from(expected));
}

/// What a handler may choose by itself.
const SUCCESSES: [&str; 7] = [
    "SWITCHING_PROTOCOLS",
    "OK",
    "CREATED",
    "ACCEPTED",
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
        // They read what object stores, or servers, answer, and answer nobody.
        let is_theirs =
            file.ends_with("store/bucket/quirks.rs") || file.ends_with("runner/server.rs");
        let is_allowed = is_problem || is_ours || is_theirs;
        assert!(is_allowed, "{}", file.display());
    }
}

#[test]
fn an_archive_is_deleted_and_a_path_is_made_in_one_place() {
    let removers = files_with(&["remove_file(", "remove_dir("]);
    for file in removers {
        assert!(
            file.starts_with("store/folder") || file == "keys.rs" || file == "runner/work.rs",
            "{file}"
        );
    }
    let joiners = files_with(&[".join(format!(", ".join(hex", ".join(\""]);
    // The runner has a folder of its own, and so has a user's configuration.
    let makers = [
        "config/client.rs",
        "runner/work.rs",
        "store/bucket/keys.rs",
        "store/folder/layout.rs",
    ];
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
fn secrets_are_compared_in_constant_time_and_in_three_places_only() {
    let expected = ["grant.rs", "service/api_tokens.rs", "service/jwt.rs"].map(str::to_owned);
    let comparisons = [".ct_eq(", ".verify_slice(", ".verify_truncated"];
    assert_eq!(files_with(&comparisons), BTreeSet::from(expected));
    // What cannot be compared otherwise is not.
    let secret = read("src/secret.rs");
    assert!(!secret.contains("PartialEq"), "a Secret has no ==");
}

/// The crates that pack and unpack, as code spells them.
const PACKERS: [&str; 5] = ["bzip2", "flate2", "lzma_rust2", "ruzstd", "zstd"];

#[test]
fn no_archive_is_looked_into_by_the_server() {
    let spelled: Vec<_> = PACKERS.iter().map(|name| format!("{name}::")).collect();
    let spelled: Vec<_> = spelled.iter().map(String::as_str).collect();
    for file in files_with(&spelled) {
        assert!(file.starts_with("pack/"), "{file} packs or unpacks");
    }
    let others = ["tar", "zip", "xz2", "liblzma", "brotli"];
    for name in direct_dependencies(&read("Cargo.toml")) {
        let unpacks = others.contains(&name) || name.contains("compression");
        assert!(!unpacks, "{name}");
    }
    let tree = source_tree();
    let edges = edges_between_modules(&tree);
    let users = edges.iter().filter(|(_, used)| used.contains("pack"));
    for (module, _) in users {
        // Of the command line, the client's commands; its settings say how to pack.
        assert!(
            ["cli", "config", "runner"].contains(module),
            "{module} uses pack"
        );
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
