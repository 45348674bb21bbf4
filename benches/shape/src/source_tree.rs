//! The files of `src/` as a build for users compiles them, and which of them use each other.
//!
//! Files are read as tokens: names in comments and strings are no use of what they name, those in the
//! arguments of macros are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::{fs, io};

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};

/// The segments of a path, such as `crate::store::Store`.
type Segments = Vec<String>;

/// For each file, or module, those that it uses.
pub type Edges<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// The files of Rust in `folder` and below it.
///
/// # Errors
/// If a folder cannot be read.
pub fn rust_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// The names of the direct dependencies in the text of a `Cargo.toml`.
pub fn direct_dependencies(manifest: &str) -> BTreeSet<&str> {
    let lines = manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]");
    let lines = lines.skip(1).take_while(|line| !line.starts_with('['));
    let named = lines.filter_map(|line| line.split_once(" = "));
    named.map(|(name, _)| name).collect()
}

/// A file, without what only tests and fuzzing compile.
pub struct SourceFile {
    /// The path of its module; empty for the root of the crate.
    module: Segments,
    /// How many lines it has.
    pub line_count: usize,
    /// How many lines each of its functions has.
    pub function_lines: Vec<usize>,
    /// The modules that it declares in files of their own.
    children: BTreeSet<String>,
    /// What it imports: the name it has here, and the path it was imported by.
    imports: BTreeMap<String, Segments>,
    /// Paths that stand for a use of what they name.
    used: Vec<Segments>,
}

/// The files that `lib.rs` and `main.rs` reach, each by its name below `src/`.
pub struct SourceTree {
    /// They can be looked up by that name.
    pub files: BTreeMap<String, SourceFile>,
    names: BTreeMap<Segments, String>,
}

impl SourceTree {
    /// The tree in the folder `src`.
    pub fn read(src: &Path) -> Self {
        Self::from_texts(|name| fs::read_to_string(src.join(name)).ok())
    }

    /// The tree of the files whose texts `read` returns.
    fn from_texts(read: impl Fn(&str) -> Option<String>) -> Self {
        let (mut files, mut names) = (BTreeMap::new(), BTreeMap::new());
        let mut left = vec![
            ("main.rs".to_owned(), vec![]),
            ("lib.rs".to_owned(), vec![]),
        ];
        while let Some((name, module)) = left.pop() {
            let Some(text) = read(&name) else { continue };
            let file = SourceFile::parse(&text, module.clone());
            for child in &file.children {
                let child = [&module[..], std::slice::from_ref(child)].concat();
                left.push((format!("{}.rs", child.join("/")), child));
            }
            names.entry(module).or_insert_with(|| name.clone());
            files.insert(name, file);
        }
        Self { files, names }
    }

    /// For each file the files that it uses. What a file merely passes on (`pub use`) is used by those who
    /// import it from there, and where it is defined.
    pub fn edges(&self) -> Edges<'_> {
        let edges_of = |(name, file): (&'_ String, &'_ SourceFile)| {
            let paths = file.used.iter().filter_map(|path| file.absolute(path));
            let used = paths.filter_map(|path| self.definer(&path, 0));
            used.filter(|used| used != name).collect()
        };
        let names = self.files.keys().map(String::as_str);
        names.zip(self.files.iter().map(edges_of)).collect()
    }

    /// The file in which the item at `path` is defined.
    fn definer(&self, path: &[String], depth: usize) -> Option<&str> {
        let mut lengths = (0..=path.len()).rev();
        let named = |length| Some((length, self.names.get(&path[..length])?));
        let (length, name) = lengths.find_map(named)?;
        let rest = &path[length..];
        let file = &self.files[name];
        let imported = rest.first().and_then(|item| file.imports.get(item));
        match imported.and_then(|path| file.absolute(path)) {
            Some(origin) if depth < 8 => self.definer(&[&origin, &rest[1..]].concat(), depth + 1),
            _ => Some(name),
        }
    }

    /// The folder that all of `files` are in, or the module whose parts they are.
    pub fn folder_of(&self, files: &[&str]) -> String {
        let modules: Vec<_> = files.iter().map(|file| &self.files[*file].module).collect();
        let shared = (0..modules[0].len()).take_while(|&at| {
            modules
                .iter()
                .all(|module| module.get(at) == modules[0].get(at))
        });
        modules[0][..shared.count()].join("/")
    }
}

impl SourceFile {
    fn parse(text: &str, module: Segments) -> Self {
        let tokens = text.parse().expect("the compiler has read it too");
        let mut file = Self {
            module,
            line_count: text.lines().count(),
            function_lines: Vec::new(),
            children: BTreeSet::new(),
            imports: BTreeMap::new(),
            used: Vec::new(),
        };
        let mut mentions = Vec::new();
        file.walk(tokens, &mut mentions);
        // A name that is passed on is used only if the file itself mentions it as well.
        for path in mentions {
            match file.imports.get(&path[0]) {
                Some(imported) => file.used.push([imported, &path[1..]].concat()),
                None if path.len() > 1 => file.used.push(path),
                None => {}
            }
        }
        file
    }

    /// Notes functions, modules, imports, and all paths that are mentioned elsewhere; takes off the lines of
    /// what only tests and fuzzing compile.
    fn walk(&mut self, tokens: TokenStream, mentions: &mut Vec<Segments>) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let rest = &tokens[at + 1..];
            match &tokens[at] {
                TokenTree::Punct(hash) if rest.first().is_some_and(is_for_tests) => {
                    let length = rest.iter().position(ends_item).unwrap_or(rest.len() - 1);
                    let lines = hash.span().start().line..=rest[length].span().end().line;
                    self.line_count -= lines.count();
                    at += length + 1;
                }
                TokenTree::Group(group) if is_scope(group) => {}
                TokenTree::Group(group) => self.walk(group.stream(), mentions),
                TokenTree::Ident(word) if word == "use" && !starts_with(rest, '<') => {
                    let length = rest.iter().position(|token| is_punct(token, ';'));
                    let tree = &rest[..length.unwrap_or(rest.len())];
                    self.import(tree, &[], is_public(&tokens[..at]));
                    at += tree.len();
                }
                TokenTree::Ident(word)
                    if word == "mod" && matches!(rest, [_, end, ..] if is_punct(end, ';')) =>
                {
                    self.children.insert(rest[0].to_string());
                    at += 1;
                }
                TokenTree::Ident(word)
                    if word == "fn" && matches!(rest.first(), Some(TokenTree::Ident(_))) =>
                {
                    if let Some(TokenTree::Group(body)) = rest.iter().find(|token| ends_item(token))
                    {
                        let lines = word.span().start().line..=body.span_close().end().line;
                        self.function_lines.push(lines.count());
                    }
                    at += 1;
                }
                TokenTree::Ident(_) if !continues(&tokens[..at]) => {
                    let path = leading_path(&tokens[at..]);
                    at += 3 * (path.len() - 1);
                    mentions.push(path);
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            at += 1;
        }
    }

    /// Notes what the tree of a `use` imports.
    fn import(&mut self, tree: &[TokenTree], prefix: &[String], is_public: bool) {
        for branch in tree.split(|token| is_punct(token, ',')) {
            let mut path = prefix.to_vec();
            let mut names = branch.iter().filter(|token| !is_punct(token, ':'));
            let mut alias = None;
            let is_leaf = loop {
                match names.next() {
                    Some(TokenTree::Ident(word)) if word == "as" => alias = names.next(),
                    Some(TokenTree::Ident(word)) if word == "self" && !path.is_empty() => {}
                    Some(TokenTree::Ident(word)) => path.push(word.to_string()),
                    Some(TokenTree::Group(group)) => {
                        let branches: Vec<_> = group.stream().into_iter().collect();
                        self.import(&branches, &path, is_public);
                        break false;
                    }
                    // All that a module has.
                    Some(TokenTree::Punct(_) | TokenTree::Literal(_)) => {
                        self.used.push(path.clone());
                        break false;
                    }
                    None => break true,
                }
            };
            if let (true, Some(last)) = (is_leaf, path.last()) {
                let name = alias.map_or_else(|| last.clone(), ToString::to_string);
                if !is_public {
                    self.used.push(path.clone());
                }
                self.imports.insert(name, path);
            }
        }
    }

    /// A path in this file as one from the root of the crate; `None` for one into another crate.
    fn absolute(&self, path: &[String]) -> Option<Segments> {
        let module = &self.module[..];
        let ups = path.iter().take_while(|name| *name == "super").count();
        let (start, rest) = match path.first()?.as_str() {
            "crate" | "waystation" => (&[][..], &path[1..]),
            "self" => (module, &path[1..]),
            "super" => (&module[..module.len().checked_sub(ups)?], &path[ups..]),
            name if self.children.contains(name) => (module, path),
            _ => return None,
        };
        Some([start, rest].concat())
    }
}

/// For each file, or module, that is reached from itself along `edges`, the shortest way round; each once.
pub fn cycles<'a>(edges: &Edges<'a>) -> BTreeSet<Vec<&'a str>> {
    let ways = edges.keys().filter_map(|start| way_round(edges, start));
    ways.collect()
}

/// The shortest way along `edges` from `start` back to it, rotated to begin with the first by name.
fn way_round<'a>(edges: &Edges<'a>, start: &'a str) -> Option<Vec<&'a str>> {
    let mut users = BTreeMap::new();
    let mut left = VecDeque::from([start]);
    while let Some(file) = left.pop_front() {
        for used in &edges[file] {
            if !users.contains_key(used) {
                users.insert(*used, file);
                left.push_back(*used);
            }
        }
    }
    let mut way = vec![start];
    let mut file = *users.get(start)?;
    while file != start {
        way.push(file);
        file = users[file];
    }
    way.reverse();
    let first = (0..way.len()).min_by_key(|&at| way[at])?;
    way.rotate_left(first);
    Some(way)
}

/// Whether this is the attribute, after its `#`, of an item that only tests and fuzzing compile.
fn is_for_tests(token: &TokenTree) -> bool {
    let attributes = ["[cfg(test)]", "[cfg(fuzzing)]", "[cfg(any(test,fuzzing))]"];
    attributes.contains(&token.to_string().replace(' ', "").as_str())
}

/// Whether an item ends with this: its body, or a semicolon.
fn ends_item(token: &TokenTree) -> bool {
    let is_block = |group: &Group| group.delimiter() == Delimiter::Brace;
    is_punct(token, ';') || matches!(token, TokenTree::Group(group) if is_block(group))
}

fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

fn starts_with(tokens: &[TokenTree], char: char) -> bool {
    tokens.first().is_some_and(|token| is_punct(token, char))
}

/// Whether this is what follows `pub` in `pub(in crate::store)`, which uses nothing.
fn is_scope(group: &Group) -> bool {
    let first = group.stream().into_iter().next();
    matches!(first, Some(TokenTree::Ident(word)) if word == "in")
}

/// Whether what is `before` a `use` makes it public to others.
fn is_public(before: &[TokenTree]) -> bool {
    let before = match before {
        [before @ .., TokenTree::Group(scope)] if scope.delimiter() == Delimiter::Parenthesis => {
            before
        }
        _ => before,
    };
    matches!(before, [.., TokenTree::Ident(word)] if word == "pub")
}

/// Whether a name after `before` is a field's, a method's, or the rest of a path.
fn continues(before: &[TokenTree]) -> bool {
    match before {
        [.., TokenTree::Punct(first), TokenTree::Punct(last)] if last.as_char() == ':' => {
            first.as_char() == ':' && first.spacing() == Spacing::Joint
        }
        [.., TokenTree::Punct(first), TokenTree::Punct(last)] if last.as_char() == '.' => {
            first.as_char() != '.'
        }
        [.., last] => is_punct(last, '.'),
        [] => false,
    }
}

/// The names at the beginning of `tokens` that `::` joins.
fn leading_path(tokens: &[TokenTree]) -> Segments {
    let mut path = vec![tokens[0].to_string()];
    let mut rest = &tokens[1..];
    while let [
        TokenTree::Punct(colon),
        second,
        TokenTree::Ident(name),
        after @ ..,
    ] = rest
        && colon.as_char() == ':'
        && colon.spacing() == Spacing::Joint
        && is_punct(second, ':')
    {
        path.push(name.to_string());
        rest = after;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> SourceTree {
        let files: BTreeMap<_, _> = files.iter().copied().collect();
        SourceTree::from_texts(|name| files.get(name).copied().map(str::to_owned))
    }

    /// A crate of a module `shop` with two children.
    fn cycles(shop: &str, till: &str, shelf: &str) -> Vec<String> {
        let tree = tree(&[
            ("lib.rs", "mod shop;"),
            ("shop.rs", &format!("mod till; mod shelf; {shop}")),
            ("shop/till.rs", till),
            ("shop/shelf.rs", shelf),
        ]);
        let cycles = super::cycles(&tree.edges());
        let name = |cycle: &Vec<&str>| format!("{}: {}", tree.folder_of(cycle), cycle.join(" "));
        cycles.iter().map(name).collect()
    }

    #[test]
    fn a_parent_and_a_child_that_use_each_other_are_a_cycle_however_they_say_so() {
        let expected = ["shop: shop.rs shop/till.rs"];
        let ways_down = [
            "use till::Till;",
            "use self::till::{Coin, Till as Drawer};",
            "fn open() { till::open() }",
            "fn open() { log!(crate::shop::till::open()) }",
            "pub use till::Till; struct Shop(Till);",
        ];
        let ways_up = [
            "use super::Shop;",
            "use crate::{clock, shop::{Shop}};",
            "use super::*;",
            "fn shop() -> Option<super::Shop> { None }",
        ];
        for down in ways_down {
            for up in ways_up {
                assert_eq!(cycles(down, up, ""), expected, "{down} {up}");
            }
        }
    }

    #[test]
    fn declaring_a_child_passing_on_what_it_has_and_naming_a_scope_use_nothing() {
        let facade = "pub use till::Till; pub(crate) use shelf::{Can, Jar}; pub struct Shop;";
        let till = "use super::{Shop, Jar};";
        let shelf = "pub(in crate::shop) struct Can;";
        assert_eq!(cycles(facade, till, shelf), [""; 0]);
        assert_eq!(cycles("use shelf::Can;", "", shelf), [""; 0]);
    }

    #[test]
    fn what_is_passed_on_is_used_where_it_is_defined() {
        let facade = "pub use till::Till; pub use shelf::Jar;";
        let cycles = cycles(
            facade,
            "use super::Jar;",
            "use super::{self as shop}; fn till(_: shop::Till) {}",
        );
        assert_eq!(cycles, ["shop: shop/shelf.rs shop/till.rs"]);
    }

    #[test]
    fn what_only_tests_and_fuzzing_compile_is_left_out() {
        let code = "use super::Shop;\n#[cfg(test)]\nmod tests {\n    fn f() {\n    }\n}\n";
        let tree = tree(&[
            (
                "lib.rs",
                "fn a() {}\n#[cfg(any(test, fuzzing))]\npub mod fuzzing;\nmod shop;\n",
            ),
            ("fuzzing.rs", "fn b() {}"),
            ("shop.rs", code),
        ]);
        let lines: Vec<_> = tree
            .files
            .iter()
            .map(|(name, file)| (&name[..], file.line_count))
            .collect();
        assert_eq!(lines, [("lib.rs", 2), ("shop.rs", 1)]);
        assert_eq!(tree.files["lib.rs"].function_lines, [1]);
        assert_eq!(tree.files["shop.rs"].function_lines, [0; 0]);
    }
}
