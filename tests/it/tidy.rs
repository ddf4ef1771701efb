//! The house rules that a test can keep: who may import whom, where `unsafe` may stand, how long things are, and that
//! REFERENCE.md names what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const FUNCTION_LINES_MAX: usize = 70;

const FILE_LINES_MAX: usize = 500;

/// The top-level modules; one may import only those before it. A refusal carries what the rules say of a miss, and the
/// status on the wire.
const ORDER: [&str; 16] = [
    "limits", "ids", "text", "sys", "trust", "wire", "rules", "refusal", "cgroup", "sd", "audit", "spawn",
    "broker", "client", "cli", "bin",
];

/// What the caller's side may import.
const CLIENT_IMPORTS: [&str; 5] = ["ids", "limits", "sys", "text", "wire"];

/// What may stand at the top of the repository, beside dotfiles.
const TOP: [&str; 11] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "REFERENCE.md",
    "examples",
    "packaging",
    "src",
    "systemd",
    "target",
    "tests",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A source file: its path from the repository's top, its text, and where its tests begin.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The text before the unit tests, which stand last.
    fn code(&self) -> &str {
        self.text.split("#[cfg(test)]").next().unwrap_or_default()
    }

    /// The top-level module it belongs to.
    fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or_default();
        below.split(['/', '.']).next().unwrap_or_default()
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

fn rust_files(dir: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(&dir).expect("the directory is there").flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(source(&path));
            }
        }
    }
    sources
}

fn source(path: &PathBuf) -> Source {
    let text = fs::read_to_string(path).expect("a source file is UTF-8");
    let path = path.strip_prefix(root()).expect("it lies in the repository").display().to_string();
    Source { path, text }
}

#[track_caller]
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

#[test]
fn unsafe_code_stands_in_sys_alone() {
    let sources = rust_files("src").into_iter().chain(rust_files("tests/it"));
    let mut complaints = Vec::new();
    for source in sources.filter(|source| source.module() != "sys" && !source.path.ends_with("tidy.rs")) {
        let marked = source.lines().filter(|(_, line)| !is_comment(line) && line.contains("unsafe"));
        let marked = marked.filter(|(_, line)| !line.contains("unsafe_code"));
        complaints.extend(marked.map(|(number, line)| format!("{}:{number}: {line}", source.path)));
    }
    none(&complaints);
}

/// The top-level modules that this code names as `crate::NAME`.
fn imports(code: &str) -> BTreeSet<&str> {
    let code_lines = code.lines().filter(|line| !is_comment(line));
    let names =
        code_lines.flat_map(|line| line.split("crate::").skip(1).chain(line.split(" sluice::").skip(1)));
    let names = names
        .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default());
    names.filter(|name| ORDER.contains(name)).collect()
}

#[test]
fn imports_point_up_the_list_only() {
    let place = |module: &str| ORDER.iter().position(|name| *name == module);
    let mut complaints = Vec::new();
    for source in rust_files("src").iter().filter(|source| source.path != "src/lib.rs") {
        let Some(own) = place(source.module()) else {
            complaints.push(format!("{}: a module that the list does not have", source.path));
            continue;
        };
        for import in imports(source.code()).into_iter().filter(|import| *import != source.module()) {
            let barred = source.module() == "client" && !CLIENT_IMPORTS.contains(&import);
            if barred || place(import) > Some(own) {
                complaints.push(format!("{}: imports {import}", source.path));
            }
        }
    }
    none(&complaints);
}

#[test]
fn code_imports_one_top_level_module_a_line() {
    let mut complaints = Vec::new();
    for source in rust_files("src") {
        let grouped = source.lines().filter(|(_, line)| line.trim_start().starts_with("use crate::{"));
        complaints.extend(grouped.map(|(number, line)| format!("{}:{number}: {line}", source.path)));
    }
    none(&complaints);
}

#[test]
fn functions_are_short() {
    let mut complaints = Vec::new();
    for source in rust_files("src").iter().chain(&rust_files("tests/it")) {
        complaints.extend(long_functions(source));
    }
    none(&complaints);
}

/// A function's body ends at the first line that is its own indentation and a closing brace.
fn long_functions(source: &Source) -> Vec<String> {
    let mut open: Option<(usize, usize, &str)> = None;
    let mut long = Vec::new();
    for (number, line) in source.lines() {
        let indent = line.len() - line.trim_start().len();
        match open {
            None if starts_function(line) && !line.ends_with(';') && !line.ends_with('}') => {
                open = Some((number, indent, line));
            }
            Some((start, depth, head)) if indent == depth && line.trim() == "}" => {
                if number - start + 1 > FUNCTION_LINES_MAX {
                    long.push(format!(
                        "{}:{start}: {} lines: {}",
                        source.path,
                        number - start + 1,
                        head.trim()
                    ));
                }
                open = None;
            }
            // A declaration without a body ends with a semicolon at its own depth.
            Some((_, depth, _)) if indent == depth && line.trim_end().ends_with(';') => open = None,
            None | Some(_) => {}
        }
    }
    long
}

fn starts_function(line: &str) -> bool {
    let line = line.trim_start();
    !is_comment(line)
        && line.split('(').next().is_some_and(|head| head.split_whitespace().any(|word| word == "fn"))
}

#[test]
fn files_are_short() {
    let all = rust_files("src").into_iter().chain(rust_files("tests/it"));
    let long = all
        .map(|source| (source.text.lines().count(), source.path))
        .filter(|(lines, _)| *lines > FILE_LINES_MAX);
    none(&long.map(|(lines, path)| format!("{path}: {lines} lines")).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_to_do() {
    let words = ["to".to_owned() + "do", "fix".to_owned() + "me", "dbg".to_owned() + "!"];
    let mut complaints = Vec::new();
    for source in rust_files("src").iter().chain(&rust_files("tests/it")) {
        let marked = source.lines().filter(|(_, line)| {
            let low = line.to_lowercase();
            let mut found = low.split(|c: char| !c.is_ascii_alphanumeric() && c != '!');
            found.any(|word| words.iter().any(|left| left == word))
        });
        complaints.extend(marked.map(|(number, line)| format!("{}:{number}: {line}", source.path)));
    }
    none(&complaints);
}

#[test]
fn only_cli_prints_and_only_bin_ends_the_process() {
    let mut complaints = Vec::new();
    for source in rust_files("src").into_iter().filter(|source| !source.path.contains("/tests/")) {
        let prints = ["println!", "eprintln!", "print!(", "eprint!("];
        for (number, line) in source.code().lines().enumerate().filter(|(_, line)| !is_comment(line)) {
            let printing = source.module() != "cli" && prints.iter().any(|print| line.contains(print));
            let ending = source.module() != "bin" && line.contains("process::exit");
            if printing || ending {
                complaints.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    none(&complaints);
}

#[test]
fn every_module_opens_with_its_idea() {
    let all = rust_files("src").into_iter().chain(rust_files("tests/it"));
    let bare =
        all.filter(|source| !source.text.starts_with("//! ") || source.text.starts_with("//! To come.\n"));
    none(&bare.map(|source| format!("{}: no paragraph at its head", source.path)).collect::<Vec<_>>());
}

#[test]
fn the_top_of_the_repository_holds_only_what_belongs_there() {
    let entries = fs::read_dir(root()).expect("the repository is there").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let strange = names.filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str()));
    none(&strange.collect::<Vec<_>>());
}

fn reference() -> String {
    fs::read_to_string(root().join("REFERENCE.md")).expect("there is a REFERENCE.md")
}

/// The words of `names` that REFERENCE.md does not have in backquotes.
fn unnamed(names: &[&str]) -> Vec<String> {
    let reference = reference();
    let quoted: BTreeSet<_> =
        reference.split('`').skip(1).step_by(2).flat_map(str::split_whitespace).collect();
    let missing = names.iter().filter(|name| !quoted.contains(**name));
    missing.map(|name| format!("REFERENCE.md does not name `{name}`")).collect()
}

#[test]
fn the_reference_names_every_attribute() {
    none(&unnamed(&[
        "timeout",
        "cwd",
        "umask",
        "env",
        "setenv",
        "exec_path",
        "stdin",
        "tty",
        "stdinfile",
        "stdoutfile",
        "stderrfile",
        "capture_max",
        "on_hangup",
        "background",
        "max_calls",
        "log",
        "logfile",
        "audit",
        "journal",
        "allow_dash",
        "allow_any",
        "accepts",
        "refuses",
        "include",
        "in",
    ]));
}

#[test]
fn the_reference_names_every_status() {
    none(&unnamed(&sluice::wire::Status::NAMES.map(|(_, name)| name)));
}

#[test]
fn the_reference_names_every_bound() {
    let limits = fs::read_to_string(root().join("src/limits.rs")).expect("there is limits.rs");
    let names: Vec<_> =
        limits.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next()).collect();
    assert!(names.len() > 20, "limits.rs has {} bounds", names.len());
    none(&unnamed(&names));
}
