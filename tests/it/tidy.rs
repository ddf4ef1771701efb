//! The house rules that a test can keep: who may import whom, where `unsafe` may stand, how long things are,
//! and that REFERENCE.md names what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sluice::refusal::{DescriptorFault, Refusal};
use sluice::rules::{MissReason, PolicyMiss};

mod circles;
mod packages;
mod reference;
mod syscalls;
mod types;

const FUNCTION_LINES_MAX: usize = 70;

const FILE_LINES_MAX: usize = 500;

const COMMENT_COLUMNS_MAX: usize = 110;

/// The top-level modules; one may import only those before it. A refusal carries what the rules say of a
/// miss, and the status on the wire.
const ORDER: [&str; 18] = [
    "limits", "ids", "text", "sys", "trust", "wire", "rules", "refusal", "confine", "cgroup", "sd", "audit",
    "spawn", "broker", "client", "sluicify", "cli", "bin",
];

/// What the caller's side may import.
const CLIENT_IMPORTS: [&str; 6] = ["client", "ids", "limits", "sys", "text", "wire"];

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

/// The exception: what is promised to `sys` of a launcher is promised beside the launcher's own code.
const SHARING_PROMISE: &str = "unsafe { sys::clone_sibling(&mut self.slots, group, live, setup) }";

#[test]
fn unsafe_code_stands_in_sys_alone() {
    let sources = rust_files("src").into_iter().chain(rust_files("tests/it"));
    let mut complaints = Vec::new();
    for source in sources.filter(|source| source.module() != "sys" && !source.path.ends_with("tidy.rs")) {
        let marked = source.lines().filter(|(_, line)| !is_comment(line) && line.contains("unsafe"));
        let marked = marked.filter(|(_, line)| !line.contains("unsafe_code"));
        let is_promise = |line: &str| source.path.ends_with("/nursery.rs") && line.trim() == SHARING_PROMISE;
        let marked = marked.filter(|(_, line)| !is_promise(line));
        complaints.extend(marked.map(|(number, line)| format!("{}:{number}: {line}", source.path)));
    }
    none(&complaints);
}

/// What a launcher runs in the nursery's memory (`sys/clone_vm.rs`).
const IN_SHARED_MEMORY: [&str; 16] = [
    "confine/step.rs",
    "spawn/process/child.rs",
    "spawn/process/confined.rs",
    "spawn/process/received_plan.rs",
    "spawn/reap/call_reaper.rs",
    "sys/confine.rs",
    "sys/exec.rs",
    "sys/in_child.rs",
    "sys/mounts.rs",
    "sys/open_at.rs",
    "sys/program.rs",
    "sys/raw_message.rs",
    "sys/reap_child.rs",
    "sys/sealed_file.rs",
    "sys/stdio.rs",
    "sys/syscall.rs",
];

/// What allocates, panics, or sets `errno` when it fails: the C library's functions, and what closes by one.
const NOT_IN_SHARED_MEMORY: [&str; 18] = [
    "Vec",
    "vec!",
    "Box",
    "String",
    "format!",
    "CString",
    "OwnedFd",
    "File",
    "Mutex",
    "Locked",
    "unwrap()",
    "expect(",
    "panic!",
    "unreachable!",
    "assert",
    "io::Error",
    "io::Result",
    "sys::write(",
];

/// What `nix` has there: types that are numbers.
const NUMBERS_OF_NIX: [&str; 5] = ["errno::Errno", "unistd::Pid", "sys::signal::Signal", "Result", "{"];

#[test]
fn what_runs_in_shared_memory_is_fenced() {
    let mut complaints = Vec::new();
    for path in IN_SHARED_MEMORY {
        let source = source(&root().join("src").join(path));
        let code = source.code().split("cfg(not(target_arch").next().unwrap_or_default();
        assert!(code.contains("deny(clippy::indexing_slicing)"), "{path}: an index that is too large panics");
        for line in code.lines().filter(|line| !is_comment(line)) {
            let calls = |library: &str| line.split(library).skip(1).any(is_function_call);
            let word = |word: &&&str| line.split(**word).count() > 1 && !line.contains("const { assert!");
            let from_nix = line.split("nix::").skip(1);
            let strange =
                from_nix.filter(|rest| !NUMBERS_OF_NIX.iter().any(|number| rest.starts_with(number))).count();
            let known =
                line.contains("libc::WIF") || line.contains("libc::WEX") || line.contains("libc::WTERM");
            if (calls("libc::") && !known) || strange > 0 || NOT_IN_SHARED_MEMORY.iter().find(word).is_some()
            {
                complaints.push(format!("{path}: {}", line.trim()));
            }
        }
    }
    none(&complaints);
}

/// Whether this begins with the name of a function and its arguments.
fn is_function_call(text: &str) -> bool {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    end.is_some_and(|end| text[end..].starts_with('('))
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
            let barred =
                ["client", "sluicify"].contains(&source.module()) && !CLIENT_IMPORTS.contains(&import);
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
fn comment_lines_are_narrow() {
    let mut complaints = Vec::new();
    for source in rust_files("src").iter().chain(&rust_files("tests")) {
        let wide = source.lines().filter(|(_, line)| is_comment(line));
        let wide = wide.map(|(number, line)| (number, line.chars().count()));
        let wide = wide.filter(|(_, columns)| *columns > COMMENT_COLUMNS_MAX);
        complaints
            .extend(wide.map(|(number, columns)| format!("{}:{number}: {columns} columns", source.path)));
    }
    none(&complaints);
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
    let attributes: Vec<_> = sluice::rules::attributes().collect();
    assert!(attributes.len() > 30, "{} attributes", attributes.len());
    let (rows, is_place) = (rows(), |cell: &String| ["D", "R", "D R", "P", "D R P"].contains(&cell.as_str()));
    let is_described = |name: &str| rows.get(name).is_some_and(|cells| cells.iter().any(is_place));
    let missing = attributes.iter().filter(|name| !is_described(name));
    none(&missing.map(|name| format!("REFERENCE.md has no row for `{name}`")).collect::<Vec<_>>());
    none(&unnamed(&["include", "in"]));
}

#[test]
fn the_reference_names_every_status() {
    none(&unnamed(&sluice::wire::Status::NAMES.map(|(_, name)| name)));
}

/// The rows of REFERENCE.md's tables that begin with names in backquotes: each of these, with what the second
/// cell has for it, or for all.
fn rows() -> BTreeMap<String, Vec<String>> {
    let reference = reference();
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for cells in reference.lines().filter_map(|line| line.strip_prefix("| `")) {
        let Some((names, rest)) = cells.split_once(" | ") else { continue };
        let values = rest.split(" | ").next().unwrap_or_default();
        let last = values.split(", ").last().unwrap_or_default();
        let names = names.split(", ").map(|name| name.trim_matches('`'));
        let rows_here = names.zip(values.split(", ").chain(std::iter::repeat(last)));
        rows_here.for_each(|(name, value)| rows.entry(name.to_owned()).or_default().push(value.to_owned()));
    }
    rows
}

#[test]
fn the_reference_has_every_bound_with_its_value() {
    let limits = fs::read_to_string(root().join("src/limits.rs")).expect("there is limits.rs");
    let (mut known, mut wrong, rows) = (BTreeMap::new(), Vec::new(), rows());
    for bound in limits.lines().filter_map(|line| line.strip_prefix("pub const ")) {
        let (name, rest) = bound.split_once(": ").expect("a name and a type");
        let (_, value) = rest.split_once(" = ").expect("a type and a value");
        let value = number(value.trim_end_matches(';'), &known);
        let is_said = |said: &Vec<String>| said.iter().any(|said| number(said, &known) == value);
        if value.is_none() || !rows.get(name).is_some_and(is_said) {
            wrong.push(format!("{name} is {value:?}, and in REFERENCE.md {:?}", rows.get(name)));
        }
        known.extend(value.map(|value| (name.to_owned(), value)));
    }
    assert!(known.len() > 100, "limits.rs has {} bounds", known.len());
    none(&wrong);
}

/// What a sign between two numbers means.
type Operator = (&'static str, fn(u64, u64) -> u64);

/// A number as limits.rs or REFERENCE.md has it: of bytes, of milliseconds, or of things.
fn number(text: &str, known: &BTreeMap<String, u64>) -> Option<u64> {
    let inner = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).filter(|it| !it.contains('('));
    let text = inner.unwrap_or(text);
    let durations = [("Duration::from_millis(", 1), ("Duration::from_secs(", 1000)];
    for (constructor, unit) in durations {
        if let Some(inner) = text.strip_prefix(constructor) {
            return Some(number(inner.strip_suffix(')')?, known)? * unit);
        }
    }
    let operators: [Operator; 5] = [
        (" - ", |left, right| left - right),
        (" + ", |left, right| left + right),
        (" << ", |left, right| left << right),
        (" * ", |left, right| left * right),
        ("^", |left, right| left.pow(u32::try_from(right).expect("a small power"))),
    ];
    for (sign, apply) in operators {
        if let Some((left, right)) = text.rsplit_once(sign) {
            return Some(apply(number(left, known)?, number(right, known)?));
        }
    }
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("bytes", 1), ("ms", 1), ("s", 1000)];
    for (unit, size) in units.into_iter().chain([("days", 24 * 3_600_000)]) {
        if let Some(count) = text.strip_suffix(unit).and_then(|count| count.strip_suffix(' ')) {
            return Some(number(count, known)? * size);
        }
    }
    known.get(text).copied().or_else(|| text.replace('_', "").parse().ok())
}

/// Every refusal that a request can meet, with what its caller is answered.
#[test]
fn the_reference_has_every_reason_with_its_status() {
    let error = || std::io::Error::other("x");
    let miss = |reason| Refusal::NoRule(PolicyMiss { reason, nearest: None, explanation: String::new() });
    let of_rules = [MissReason::NoRule, MissReason::OptionLike, MissReason::Outside, MissReason::TooLong];
    let of_rules = of_rules.into_iter().chain([MissReason::TooMany, MissReason::TooCostly]).map(miss);
    let others = [
        Refusal::Malformed(sluice::wire::Malformed::Nul),
        Refusal::Silence,
        Refusal::Crowded,
        Refusal::Descriptors(DescriptorFault::Late),
        Refusal::NoCredentials,
        Refusal::Unresolved { program: "x".into(), source: error() },
        Refusal::Untrusted { program: "x".into(), why: "y".into() },
        Refusal::NoCredential { name: "x".into(), why: "y".into() },
        Refusal::AuditLost { path: "x".into(), source: error() },
        Refusal::NoLauncher(error()),
        Refusal::LauncherEnded,
        Refusal::LauncherSilent,
        Refusal::InFlight,
        Refusal::BrokenRules { why: "x".into(), shown_by: "y".into() },
        Refusal::NoScope(error()),
        Refusal::Unconfined { profile: "x".into(), why: "y".into() },
        Refusal::ListingTooLarge(0),
        Refusal::Unsettled,
        Refusal::Failed,
        Refusal::Stopping,
        Refusal::Left,
    ];
    let source = fs::read_to_string(root().join("src/refusal.rs")).expect("there is refusal.rs");
    let words = source.split("fn reason(").nth(1).and_then(|rest| rest.split("\n    }\n").next());
    let words: BTreeSet<_> = words.expect("it has reasons").split('"').skip(1).step_by(2).collect();
    let (rows, mut wrong, mut met) = (rows(), Vec::new(), BTreeSet::new());
    for refusal in of_rules.chain(others) {
        let (reason, status) = (refusal.reason(), format!("{}", refusal.status().get()));
        if !rows.get(reason).is_some_and(|said| said.contains(&status)) {
            wrong.push(format!("{reason} is {status}, and in REFERENCE.md {:?}", rows.get(reason)));
        }
        met.insert(reason);
    }
    wrong.extend(
        words.iter().filter(|word| !met.contains(*word)).map(|word| format!("{word} is not tried here")),
    );
    none(&wrong);
}
