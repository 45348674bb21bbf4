//! What is packed and what is not: git's rules, and then our own.

use std::fs;
use std::path::Path;
use std::process::Command;

use waystation::pack::{IgnoreRules, list, list_commit};

use crate::user::User;

fn names(folder: &Path, rules: IgnoreRules) -> Vec<String> {
    let tree = list(folder, rules).unwrap();
    let names = tree.entries().iter();
    names
        .map(|entry| String::from_utf8(entry.path.to_vec()).unwrap())
        .collect()
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn git(folder: &Path, arguments: &[&str]) {
    let mut git = Command::new("git");
    git.arg("-C")
        .arg(folder)
        .args(["-c", "user.name=somebody", "-c", "user.email=some@body"]);
    git.env("GIT_CONFIG_GLOBAL", "/dev/null");
    let done = git.args(arguments).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn rules_of_git_count_nested_and_where_only_this_copy_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    git(folder, &["init", "-q"]);
    write(
        folder,
        &[
            (".gitignore", "*.log\n/build/\n"),
            (".git/info/exclude", "private\n"),
            ("a.log", ""),
            ("build/x", ""),
            ("private", ""),
            ("src/.gitignore", "!keep.log\ngenerated\n"),
            ("src/keep.log", ""),
            ("src/other.log", ""),
            ("src/generated", ""),
            ("src/build/x", ""),
        ],
    );
    let expected = [
        ".gitignore",
        "src",
        "src/.gitignore",
        "src/build",
        "src/build/x",
        "src/keep.log",
    ];
    assert_eq!(names(folder, IgnoreRules::Follow), expected);
    // A folder below it has the rules of those above.
    let below = names(&folder.join("src"), IgnoreRules::Follow);
    assert_eq!(below, [".gitignore", "build", "build/x", "keep.log"]);
}

#[test]
fn our_own_rules_have_the_last_word_and_git_itself_is_never_packed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    git(folder, &["init", "-q"]);
    write(
        folder,
        &[
            (".gitignore", "dist/\n*.key\n"),
            (".waystationignore", "!dist/\n/docs\n"),
            ("dist/app.js", ""),
            ("docs/a", ""),
            ("secret.key", ""),
            ("sub/.git", "gitdir: elsewhere"),
            ("sub/docs/a", ""),
        ],
    );
    let expected = [
        ".gitignore",
        ".waystationignore",
        "dist",
        "dist/app.js",
        "sub",
        "sub/docs",
        "sub/docs/a",
    ];
    assert_eq!(names(folder, IgnoreRules::Follow), expected);
    let all = names(folder, IgnoreRules::Pass);
    assert!(all.contains(&"secret.key".to_owned()) && all.contains(&"docs/a".to_owned()));
    assert!(
        !all.iter()
            .any(|name| name.contains(".git/") || name.ends_with("/.git")),
        "{all:?}"
    );
}

/// A home may ignore all that is in it; only what is of a repository is of this folder.
#[test]
fn rules_above_a_folder_that_is_no_repository_are_not_its_own() {
    let home = tempfile::tempdir().unwrap();
    write(
        home.path(),
        &[
            (".gitignore", "*\n"),
            ("app/a", ""),
            ("app/.gitignore", "b\n"),
            ("app/b", ""),
        ],
    );
    let app = home.path().join("app");
    assert_eq!(names(&app, IgnoreRules::Follow), [".gitignore", "a"]);
}

#[test]
fn the_users_own_rules_for_all_repositories_count() {
    let user = User::new();
    user.write(".config/git/ignore", "*.swp\n");
    user.write("app/a", "");
    user.write("app/a.swp", "");
    let listed = user.done(&["check", "app", "--list"]);
    assert_eq!(listed, "a");
}

#[test]
fn a_commit_is_packed_as_it_was_and_not_as_the_files_are_now() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    git(folder, &["init", "-q"]);
    write(folder, &[("a", "one"), ("b.d/c", "c"), ("b/c", "c")]);
    std::os::unix::fs::symlink("a", folder.join("link")).unwrap();
    git(folder, &["add", "."]);
    git(folder, &["commit", "-qm", "x"]);
    git(folder, &["tag", "v1"]);
    let (committed, now) = (
        list_commit(folder, "v1").unwrap(),
        names(folder, IgnoreRules::Follow),
    );
    let committed: Vec<_> = committed
        .entries()
        .iter()
        .map(|entry| &*entry.path)
        .collect();
    assert_eq!(
        committed,
        now.iter().map(String::as_bytes).collect::<Vec<_>>()
    );

    write(folder, &[("a", "changed"), ("d", "new")]);
    let user = User::new();
    let path = folder.to_str().unwrap();
    let listed = user.done(&["check", path, "--list", "--git", "v1"]);
    assert_eq!(listed, "a\nb/\nb/c\nb.d/\nb.d/c\nlink");
    let unknown = user.failed(&["check", path, "--git", "v2"], 1);
    assert!(
        unknown.contains("git does not know the commit: v2"),
        "{unknown}"
    );
    let flag = user.failed(&["check", path, "--git=--upload-pack=x"], 1);
    assert!(flag.contains("git does not know"), "{flag}");
}
