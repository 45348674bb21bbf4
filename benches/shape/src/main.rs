//! What `./shape` reads in the files of a checkout, whose folder is the argument: a name, a tab and a count a line.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;
use std::{env, fs, io};

use waystation_shape::{SourceTree, cycles, direct_dependencies, rust_files};

/// The lines of Rust in `folder`, without what was built there.
fn lines_in(folder: &Path) -> io::Result<usize> {
    let files = rust_files(folder)?;
    let built = folder.join("target");
    let files = files.iter().filter(|file| !file.starts_with(&built));
    files
        .map(|file| Ok(fs::read_to_string(file)?.lines().count()))
        .sum()
}

/// The middle of `counts`, and what nine in ten of them do not exceed.
fn spread(mut counts: Vec<usize>) -> String {
    counts.sort_unstable();
    let at = |percent: usize| counts[(counts.len() * percent).div_ceil(100) - 1];
    format!("{}, {}", at(50), at(90))
}

fn main() -> io::Result<()> {
    let root = env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let root = Path::new(&root);
    let tree = SourceTree::read(&root.join("src"));
    let files: Vec<_> = tree.files.values().map(|file| file.line_count).collect();
    let functions = tree.files.values().flat_map(|file| &file.function_lines);
    let functions: Vec<_> = functions.copied().collect();
    let long = functions.iter().filter(|lines| **lines > 70).count();
    let per_mille = (long * 1000 + functions.len() / 2) / functions.len();
    let production: usize = files.iter().sum();
    let cyclic: BTreeSet<_> = cycles(&tree.edges()).into_iter().flatten().collect();
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;

    let print = |what: &str, count: &dyn Display| println!("{what}\t{count}");
    print("production lines in `src/`", &production);
    print("files", &files.len());
    print("lines of a file: median, 90th percentile", &spread(files));
    print("functions", &functions.len());
    print(
        "lines of a function: median, 90th percentile",
        &spread(functions),
    );
    print(
        "functions of more than 70 lines",
        &format!("{long} ({}.{} %)", per_mille / 10, per_mille % 10),
    );
    print("files in a cycle of `use`", &cyclic.len());
    print("direct dependencies", &direct_dependencies(&manifest).len());
    print("lines in `tests/`", &lines_in(&root.join("tests"))?);
    print(
        "lines in `src/` for tests and fuzzing only",
        &(lines_in(&root.join("src"))? - production),
    );
    print("lines in `fuzz/`", &lines_in(&root.join("fuzz"))?);
    Ok(())
}
