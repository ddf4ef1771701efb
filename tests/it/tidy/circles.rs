//! No two files of `src` import each other, neither by their own paths nor by names that a `mod.rs` gives on:
//! two such files can only be read, tested and moved as one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, is_comment, rust_files};

/// A path of names: of a module, or of an item in one.
type Names = Vec<String>;

/// What `src` consists of.
#[derive(Default)]
struct Modules {
    /// The file of each module.
    files: BTreeMap<Names, String>,
    /// The names that a module imports or gives on, with the paths that they stand for.
    imported: BTreeMap<Names, BTreeMap<String, Names>>,
    /// The modules and items that a module's code names, by their paths from the crate.
    named: BTreeMap<Names, Vec<Names>>,
}

#[test]
fn no_two_files_import_each_other() {
    let edges = Modules::read(&rust_files("src")).edges();
    let both = |(from, to): &&(String, String)| from < to && edges.contains(&(to.clone(), from.clone()));
    let found = edges.iter().filter(both).map(|(one, two)| format!("{one} and {two} import each other"));
    super::none(&found.collect::<Vec<_>>());
}

#[test]
fn a_circle_is_found_through_names_that_a_module_gives_on() {
    let file = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let edges = Modules::read(&[
        file("src/a/mod.rs", "mod b;\nmod c;\npub use b::{B, C as D};\npub fn f() {}\n"),
        file("src/a/b.rs", "use super::c::{\n    self, X,\n};\nuse std::io;\n"),
        file("src/a/c.rs", "fn g() { crate::a::D::new(); super::f() }\n"),
    ])
    .edges();
    let want = [("a/b", "a/c"), ("a/c", "a/b"), ("a/c", "a/mod"), ("a/mod", "a/b")];
    let want = want.map(|(from, to)| (format!("src/{from}.rs"), format!("src/{to}.rs")));
    assert_eq!(edges, BTreeSet::from(want));
}

impl Modules {
    fn read(sources: &[Source]) -> Self {
        let mut modules = Self::default();
        let sources: Vec<_> = sources.iter().filter(|source| !source.path.ends_with("tests.rs")).collect();
        for source in &sources {
            modules.files.insert(module_of(&source.path), source.path.clone());
        }
        for source in sources.iter().filter(|source| source.path != "src/lib.rs") {
            modules.read_one(source);
        }
        modules
    }

    fn read_one(&mut self, source: &Source) {
        let module = module_of(&source.path);
        let lines = source.code().lines().filter(|line| !is_comment(line)).map(without_scope);
        let (mut code, mut declaration) = (String::new(), None::<String>);
        for line in lines {
            let text = line.trim();
            let begins = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "];
            let begun = begins.iter().find_map(|word| text.strip_prefix(word)).map(|_| String::new());
            let Some(mut so_far) = declaration.take().or(begun) else {
                code.push_str(&line);
                code.push('\n');
                continue;
            };
            so_far.push_str(text);
            match so_far.strip_suffix(';') {
                None => declaration = Some(so_far),
                Some(whole) => self.read_use(&module, whole.split_once("use ").expect("its head").1),
            }
        }
        let paths = paths_in(&code);
        let named =
            paths.iter().filter(|path| path.len() > 1).filter_map(|path| self.crate_path(&module, path));
        let named: Vec<_> = named.collect();
        self.named.entry(module).or_default().extend(named);
    }

    /// One declaration: each name in its braces, with its path.
    fn read_use(&mut self, module: &[String], tree: &str) {
        for (path, name) in leaves(tree.trim()) {
            let Some(path) = self.crate_path(module, &path) else { continue };
            self.imported.entry(module.to_vec()).or_default().insert(name, path.clone());
            self.named.entry(module.to_vec()).or_default().push(path);
        }
    }

    /// A path as it is from the crate's top; none of another crate.
    fn crate_path(&self, module: &[String], path: &[String]) -> Option<Names> {
        let mut base = module.to_vec();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" | "sluice" => base.clear(),
            "self" => {}
            "super" => {}
            child => {
                base.push(child.to_owned());
                return self.files.contains_key(&base).then(|| [module, path].concat());
            }
        }
        while rest.first().is_some_and(|name| name == "super") {
            base.pop();
            rest = &rest[1..];
        }
        let rest = if rest.first().is_some_and(|name| ["crate", "sluice", "self"].contains(&&**name)) {
            &rest[1..]
        } else {
            rest
        };
        Some([&base, rest].concat())
    }

    /// The file that an item stands in, wherever its name was given on.
    fn file_of(&self, path: &[String], depth: usize) -> Option<&String> {
        let known = (0..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(known);
        let given_on = rest.first().and_then(|name| self.imported.get(module)?.get(name));
        match given_on {
            Some(target) if depth < 8 => self.file_of(&[target, &rest[1..]].concat(), depth + 1),
            _ => self.files.get(module),
        }
    }

    fn edges(&self) -> BTreeSet<(String, String)> {
        let mut edges = BTreeSet::new();
        for (module, paths) in &self.named {
            let from = &self.files[module];
            let to = paths.iter().filter_map(|path| self.file_of(path, 0)).filter(|to| *to != from);
            edges.extend(to.map(|to| (from.clone(), to.clone())));
        }
        edges
    }
}

/// A line of code without the module in which an item is seen: `pub(in crate::a)` imports nothing.
fn without_scope(line: &str) -> String {
    match line.split_once("pub(in ").and_then(|(head, rest)| Some((head, rest.split_once(')')?.1))) {
        Some((head, rest)) => format!("{head}pub{rest}"),
        None => line.to_owned(),
    }
}

fn module_of(path: &str) -> Names {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').filter(|name| *name != "lib").map(str::to_owned).collect()
}

/// The paths of a `use` tree, each with the name that it gets.
fn leaves(tree: &str) -> Vec<(Names, String)> {
    let Some((head, inner)) = tree.split_once('{') else {
        let (path, name) = tree.split_once(" as ").unwrap_or((tree, tree));
        let mut path: Names = path.trim().split("::").map(|name| name.trim().to_owned()).collect();
        if path.len() > 1 && path.last().is_some_and(|last| last == "self" || last == "*") {
            path.pop();
        }
        let own = path.last().cloned().unwrap_or_default();
        return vec![(path, if name == tree { own } else { name.trim().to_owned() })];
    };
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, sign) in inner.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[from..]);
    let parts = parts.into_iter().map(str::trim).filter(|part| !part.is_empty());
    parts.flat_map(|part| leaves(&format!("{head}{part}"))).collect()
}

/// The paths of two names and more that code has outside its declarations.
fn paths_in(code: &str) -> Vec<Names> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = code.split(|c: char| !is_part(c)).filter(|word| word.contains("::"));
    let names = words.map(|word| word.split("::").map(str::to_owned).collect::<Names>());
    names.map(|names| names.into_iter().filter(|name| !name.is_empty()).collect()).collect()
}
