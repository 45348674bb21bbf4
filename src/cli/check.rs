//! `waystation check`: what an archive holds, or would, and what a build would trip over.

use std::collections::HashMap;
use std::fs::{self, File};
use std::sync::Arc;

use serde::Serialize;

use super::archive::{blocking, list_folder, make};
use super::error::CliError;
use super::print::{print, print_json};
use super::screen::Screen;
use crate::config::CheckSettings;
use crate::error_chain::printable;
use crate::pack::{Inspected, TreeEntry, TreeKind, UnpackLimits, inspect};

/// What was found, as `--json` prints it.
#[derive(Serialize)]
struct CheckAnswer {
    check: Checked,
}

#[derive(Serialize)]
struct Checked {
    /// Of the archive.
    size: u64,
    sha256: String,
    files: usize,
    folders: usize,
    links: usize,
    /// Of all files together.
    unpacked_size: u64,
    /// All is in one folder at the root.
    has_root_folder: bool,
    /// Names that are one where case does not count.
    case_twins: Vec<String>,
}

/// The names alone.
#[derive(Serialize)]
struct ListAnswer {
    entries: Vec<String>,
}

pub(super) async fn check(settings: CheckSettings) -> Result<(), CliError> {
    let screen = Screen::new(settings.output.quiet);
    if settings.list {
        return list(&settings, &screen).await;
    }
    let made = make(&settings.path, &settings.pack, u64::MAX, &screen).await?;
    let limits = settings.limits.limits();
    let file = Arc::clone(&made.archive.file);
    let inspected = blocking(move || inspect_file(&file, limits)).await?;
    let of_kind = |is_kind: fn(&TreeKind) -> bool| {
        let kinds = inspected.tree.iter().map(|entry| &entry.kind);
        kinds.filter(|kind| is_kind(kind)).count()
    };
    let checked = Checked {
        size: made.archive.bytes,
        sha256: made.archive.sha256().await?.to_string(),
        files: of_kind(|kind| matches!(kind, TreeKind::File { .. })),
        folders: of_kind(|kind| matches!(kind, TreeKind::Folder)),
        links: of_kind(|kind| matches!(kind, TreeKind::Link { .. })),
        unpacked_size: inspected.unpacked.bytes,
        has_root_folder: inspected.unpacked.is_lifted,
        case_twins: case_twins(&inspected.tree),
    };
    if !checked.has_root_folder {
        screen.warn("there is no single folder at the root, which the platform requires");
    }
    for twins in &checked.case_twins {
        screen.warn(&format!("{twins} are one file where case is ignored"));
    }
    if settings.output.json {
        return print_json(&CheckAnswer { check: checked });
    }
    print(&format!("size\t{} bytes", checked.size))?;
    print(&format!("sha256\t{}", checked.sha256))?;
    print(&format!("files\t{}", checked.files))?;
    print(&format!("folders\t{}", checked.folders))?;
    print(&format!("links\t{}", checked.links))?;
    print(&format!("unpacked\t{} bytes", checked.unpacked_size))
}

fn inspect_file(file: &File, limits: UnpackLimits) -> Result<Inspected, CliError> {
    let file = file.try_clone().map_err(CliError::TemporaryFile)?;
    Ok(inspect(file, limits)?)
}

async fn list(settings: &CheckSettings, screen: &Arc<Screen>) -> Result<(), CliError> {
    let is_folder = fs::metadata(&settings.path).is_ok_and(|metadata| metadata.is_dir());
    let names: Vec<_> = if is_folder {
        let (tree, _root) = list_folder(&settings.path, &settings.pack, screen).await?;
        tree.entries().iter().map(name_of).collect()
    } else {
        let made = make(&settings.path, &settings.pack, u64::MAX, screen).await?;
        let limits = settings.limits.limits();
        let file = Arc::clone(&made.archive.file);
        let inspected = blocking(move || inspect_file(&file, limits)).await?;
        inspected.tree.iter().map(name_of).collect()
    };
    if settings.output.json {
        return print_json(&ListAnswer { entries: names });
    }
    print_lines(&names)
}

fn print_lines(names: &[String]) -> Result<(), CliError> {
    names.iter().try_for_each(|name| print(name))
}

/// As it can be shown: a folder ends with a slash.
fn name_of(entry: &TreeEntry) -> String {
    let mut name = printable(&String::from_utf8_lossy(&entry.path));
    if entry.kind == TreeKind::Folder && !name.ends_with('/') {
        name.push('/');
    }
    name
}

fn case_twins(tree: &[TreeEntry]) -> Vec<String> {
    let mut seen = HashMap::new();
    let mut twins = Vec::new();
    for entry in tree {
        let name = String::from_utf8_lossy(&entry.path);
        if let Some(other) = seen.insert(name.to_lowercase(), entry) {
            let other = String::from_utf8_lossy(&other.path);
            twins.push(format!(
                "'{}' and '{}'",
                printable(&other),
                printable(&name)
            ));
        }
    }
    twins
}
