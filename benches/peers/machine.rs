//! What the results hold for: the machine, the builds, the day; and the files that keep them.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use serde_json::{Value, json};

use crate::peer::Places;
use crate::picture;
use crate::report::{Row, table};

/// Pairs of what is said and its value.
pub(crate) struct Machine(Vec<(&'static str, String)>);

fn line_of(file: &str, start: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(start));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or_else(
        || "unknown".to_owned(),
        |(_, value)| value.trim().to_owned(),
    )
}

/// The kind of file system that a folder is on, and how it is mounted.
fn file_system(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let folder = folder.canonicalize().unwrap();
    let mounts = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    let over = mounts.filter(|fields| fields.len() > 3 && folder.starts_with(fields[1]));
    let nearest = over.max_by_key(|fields| fields[1].len());
    nearest.map_or_else(String::new, |fields| {
        format!("{} ({})", fields[2], fields[3])
    })
}

pub(crate) fn describe(places: &Places, profile: &str, rounds: usize) -> Machine {
    let cores = available_parallelism().unwrap();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let ours = std::process::Command::new(&places.waystation)
        .arg("--version")
        .output()
        .unwrap();
    let ours = String::from_utf8_lossy(&ours.stdout).trim().to_owned();
    let commit = std::process::Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output();
    let commit = commit.map_or_else(
        |_| "no commit".to_owned(),
        |told| String::from_utf8_lossy(&told.stdout).trim().to_owned(),
    );
    Machine(vec![
        (
            "date",
            jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        ),
        (
            "machine",
            format!(
                "{cores} cores ({}), {} of memory; servers and clients share them",
                line_of("/proc/cpuinfo", "model name"),
                line_of("/proc/meminfo", "MemTotal"),
            ),
        ),
        ("kernel", format!("Linux {}", kernel.trim())),
        ("file system", file_system(&places.room)),
        (
            "waystation",
            format!("{ours} ({commit}), profile {profile}, a line logged for each request"),
        ),
        (
            "nginx",
            format!(
                "{}, DAV, sendfile, a worker a core, a line logged for each request",
                places.version("nginx", "-v")
            ),
        ),
        ("dufs", places.version("dufs", "--version")),
        ("SeaweedFS", places.version("weed", "version")),
        (
            "rounds",
            format!("{rounds}, alternating, after one that is not counted"),
        ),
    ])
}

/// Where results are kept.
pub(crate) struct Kept {
    /// Of the files in `benches`.
    name: &'static str,
    /// The document that shows them.
    note: &'static str,
}

impl Kept {
    pub(crate) const ALL: Self = Self {
        name: "results",
        note: "docs/performance.md",
    };
    pub(crate) const BUCKET: Self = Self {
        name: "bucket",
        note: "docs/scaling.md",
    };
}

impl Machine {
    pub(crate) fn to_markdown(&self) -> String {
        let lines = self
            .0
            .iter()
            .map(|(name, value)| format!("- {name}: {value}\n"));
        lines.collect()
    }

    /// Writes the results: those that are kept into the tree, others below `target`.
    pub(crate) fn write(&self, root: &Path, kept: Option<Kept>, rows: &[Row]) {
        let folder = match kept {
            Some(_) => root.join("benches"),
            None => root.join("target/bench"),
        };
        let name = kept.as_ref().map_or("results", |kept| kept.name);
        let said: serde_json::Map<_, _> = self
            .0
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(value.clone())))
            .collect();
        let rows_json: Vec<_> = rows.iter().map(Row::to_json).collect();
        let json = json!({"measured_on": said, "rows": rows_json});
        let markdown = format!("{}\n{}", self.to_markdown(), table(rows));
        let mut files: Vec<(PathBuf, String)> = vec![
            (
                folder.join(format!("{name}.json")),
                serde_json::to_string_pretty(&json).unwrap() + "\n",
            ),
            (folder.join(format!("{name}.md")), markdown.clone()),
        ];
        let picture = match kept {
            Some(_) => root.join("docs/throughput.svg"),
            None => folder.join("throughput.svg"),
        };
        if let Some(drawn) = picture::draw(rows) {
            files.push((picture, drawn));
        }
        if let Some(kept) = kept {
            let note = root.join(kept.note);
            let text = fs::read_to_string(&note).unwrap_or_default();
            files.extend(between_marks(&text, &markdown).map(|text| (note, text)));
        }
        for (file, text) in files {
            fs::write(&file, text).unwrap();
            println!("wrote {}", file.display());
        }
    }
}

/// A document with its part between the two marks replaced; none if it has none.
fn between_marks(text: &str, part: &str) -> Option<String> {
    const BEGIN: &str = "<!-- ./bench writes from here -->\n";
    const END: &str = "<!-- to here -->";
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{part}\n{END}{after}"))
}
