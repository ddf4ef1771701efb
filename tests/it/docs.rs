//! What the documents show works: every rules example loads, and every command marked as tested runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{TempDir, chmod, find, sluice};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The fenced blocks of a document whose fence line is exactly this, with the line that each begins on.
fn blocks(document: &str, fence: &str) -> Vec<(usize, String)> {
    let text =
        fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"));
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        match (&mut open, line.trim_start().starts_with("```")) {
            (None, true) => {
                open = (line.trim() == format!("```{fence}"))
                    .then(|| (index + 1, String::new()))
                    .or(Some((0, String::new())))
            }
            (Some((start, _)), true) if *start == 0 => open = None,
            (Some(_), true) => found.extend(open.take()),
            (Some((_, block)), false) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, false) => {}
        }
    }
    found
}

#[test]
fn every_rules_example_in_the_documents_loads() {
    let dir = TempDir::new();
    for document in ["README.md", "REFERENCE.md"] {
        for (line, block) in blocks(document, "rules") {
            let path = dir.write("example.rules", &block).to_string_lossy().into_owned();
            let ended = sluice(["check", &path]);
            assert_eq!(ended.code(), Some(0), "{document}:{line}\n{block}\n{ended}");
        }
    }
    assert!(!blocks("REFERENCE.md", "rules").is_empty(), "REFERENCE.md shows no rules");
}

#[test]
fn the_built_in_profiles_stand_in_the_reference() {
    let shown: Vec<_> = blocks("REFERENCE.md", "rules built-in").into_iter().map(|(_, text)| text).collect();
    assert_eq!(shown, [sluice::rules::BUILT_IN_PROFILES]);
}

#[test]
fn every_example_file_loads() {
    let mut count = 0;
    for path in files_below(&root().join("examples")) {
        if path.extension().is_some_and(|extension| extension == "rules") {
            sluice([Path::new("check"), &path]).exited(0);
            count += 1;
        }
    }
    assert!(count > 0, "there are no examples");
}

#[test]
fn every_command_marked_as_tested_runs() {
    for document in ["README.md", "REFERENCE.md"] {
        for (line, block) in blocks(document, "sh test") {
            let dir = TempDir::new();
            let bin = Path::new(env!("CARGO_BIN_EXE_sluice")).parent().expect("a binary lies in a directory");
            let path = format!("{}:/usr/bin:/bin", bin.display());
            let mut command = Command::new("timeout");
            command
                .args(["60", "bash", "-euc", &block])
                .current_dir(dir.path())
                .env("PATH", path)
                .env("HOME", dir.path());
            let output = command.output().expect("bash is installed");
            assert!(output.status.success(), "{document}:{line}\n{block}\n{output:?}");
        }
    }
}

/// Types the one block of REFERENCE.md that has this fence, in `home/sources`, with the programs left out
/// that would act on this machine, and gives the files that it left in `home`.
fn typed_apart(home: &TempDir, fence: &str) -> Vec<String> {
    let [(line, block)] = &blocks("REFERENCE.md", fence)[..] else { panic!("want one block {fence:?}") };
    let block = block.replace(" /etc", " $HOME/etc").replace(" /usr", " $HOME/usr");
    let apart = "for it in cargo systemctl journalctl systemd-sysusers systemd-tmpfiles; do eval \"$it() { :; }\"; done";
    let mut command = Command::new("timeout");
    command.args(["60", "bash", "-euc", &format!("{apart}\n{block}")]).current_dir(home.join("sources"));
    command.env("HOME", home.path()).env("XDG_RUNTIME_DIR", home.join("run"));
    let output = command.output().expect("bash is installed");
    assert!(output.status.success(), "REFERENCE.md:{line}\n{block}\n{output:?}");
    let below = |path: PathBuf| path.strip_prefix(home.path()).expect("it is there").display().to_string();
    let mut left: Vec<_> = files_below(home.path()).into_iter().map(below).collect();
    left.retain(|path| !path.starts_with("sources/"));
    left.sort();
    left
}

/// A home with what the steps of REFERENCE.md install.
fn with_sources() -> TempDir {
    let home = TempDir::new();
    for dir in ["sources", "sources/target", "sources/target/release"] {
        home.mkdir(dir, 0o755);
    }
    for file in ["target/release/sluice", "target/release/sluicify", "REFERENCE.md", "ci.rules"] {
        home.write(&format!("sources/{file}"), "");
    }
    std::os::unix::fs::symlink(root().join("systemd"), home.join("sources/systemd"))
        .expect("an own directory");
    home
}

#[test]
fn the_steps_for_the_whole_system_install_every_file_of_its_units() {
    let home = with_sources();
    home.mkdir("etc", 0o755);
    home.mkdir("etc/sluice", 0o755);
    let left = typed_apart(&home, "sh system");
    for directory in ["system", "sysusers.d", "tmpfiles.d", "catalog"] {
        for file in files_below(&root().join("systemd").join(directory)) {
            let name = format!("/{}", file.file_name().expect("a file").display());
            assert!(left.iter().any(|path| path.ends_with(&name)), "{name} is not installed: {left:?}");
        }
    }
    assert!(left.contains(&"usr/local/share/doc/sluice/REFERENCE.md".to_owned()), "{left:?}");
    assert!(left.contains(&"etc/sluice/ci.rules".to_owned()), "{left:?}");
}

#[test]
fn the_removal_leaves_nothing_of_what_the_upgrade_installs() {
    let home = with_sources();
    let left = typed_apart(&home, "sh upgrade");
    assert!(left.contains(&".local/bin/sluice".to_owned()), "{left:?}");
    let unit =
        fs::read_to_string(home.join(".config/systemd/user/sluice@.service")).expect("it is installed");
    assert!(unit.contains("\nExecStart=%h/.local/bin/sluice serve "), "{unit}");
    home.mkdir(".config/sluice", 0o700);
    home.write(".config/sluice/agent.rules", "");
    assert_eq!(typed_apart(&home, "sh removal"), [""; 0]);
}

/// The two commands of the README with nothing but the least programs on the `PATH`, and a cargo that says
/// this.
fn without(dir: &TempDir, command: &str, cargo: Option<&str>) -> (Option<i32>, String) {
    let bin = dir.mkdir(&format!("bin-{}", cargo.unwrap_or("none").replace(' ', "-")), 0o700);
    for program in ["bash", "sed", "sort", "head", "awk", "uname", "dirname", "mktemp", "rm"] {
        let found = find(program).expect("it is in every Debian");
        std::os::unix::fs::symlink(found, bin.join(program)).expect("an own directory");
    }
    if let Some(version) = cargo {
        fs::write(bin.join("cargo"), format!("#!/bin/sh\necho {version}\n")).expect("an own directory");
        chmod(&bin.join("cargo"), 0o755);
    }
    let output = Command::new("/bin/bash")
        .arg(root().join(command))
        .env_clear()
        .env("PATH", bin)
        .env("HOME", dir.path())
        .output()
        .expect("bash is installed");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_the_commands_need_is_said_before_anything_is_made() {
    let least = |name: &str, file: &str| {
        let text = fs::read_to_string(root().join(file)).expect("it is there");
        let value = text.split_once(name).and_then(|(_, rest)| rest.split_whitespace().next());
        value.expect("it names the least").trim_matches('"').to_owned()
    };
    let rust = least("rust-version = ", "Cargo.toml");
    let (kernel, systemd) =
        (least("KERNEL_LEAST=", "tests/requirements"), least("SYSTEMD_LEAST=", "tests/requirements"));
    let readme = fs::read_to_string(root().join("README.md")).expect("it is there");
    for named in [
        format!("Rust {rust} or later"),
        format!("Linux {kernel} or later"),
        format!("systemd {systemd} or later"),
    ] {
        assert!(readme.contains(&named), "README.md does not say {named:?}");
    }
    for command in ["tests/run", "examples/quickstart"] {
        let dir = TempDir::new();
        for cargo in [None, Some("cargo 1.85.0")] {
            let (code, said) = without(&dir, command, cargo);
            assert!(code.is_some_and(|code| code != 0), "{command} with {cargo:?}: {said}");
            assert!(said.contains(&format!("Rust {rust} or later is needed")), "{command}: {said}");
        }
        let (_, said) = without(&dir, command, Some("cargo 99.0.0"));
        assert!(said.contains("a C linker (cc) is needed: as root, type  apt-get install gcc"), "{said}");
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    let (dirs, mut files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
    files.extend(dirs.iter().flat_map(|dir| files_below(dir)));
    files
}

/// The names in backquotes of a text.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What `src/README.md` and the decisions say of threads and tests is so.
#[test]
fn the_map_of_the_code_names_threads_and_tests_that_there_are() {
    let of_files = |dir: &str| -> Vec<String> {
        let files = files_below(&root().join(dir));
        files.iter().filter_map(|path| fs::read_to_string(path).ok()).collect()
    };
    let sources = of_files("src");
    let tests = [of_files("src"), of_files("tests/it"), of_files("tests/machine/src")].concat();
    let map = fs::read_to_string(root().join("src/README.md")).expect("there is a map");
    assert!(map.lines().count() <= 200, "src/README.md has {} lines", map.lines().count());
    let threads = map.split("\n## Threads").nth(1).and_then(|rest| rest.split("\n## ").next());
    let threads = threads.expect("it has a table of threads");
    for name in sources.iter().flat_map(|text| text.split(".name(\"").skip(1)) {
        let name = name.split('"').next().unwrap_or_default();
        assert!(threads.contains(&format!("| `{name}` |")), "src/README.md has no thread `{name}`");
    }
    let decisions = files_below(&root().join("src"));
    let decisions = decisions.iter().filter(|path| path.ends_with("DECISIONS.md"));
    let decisions = decisions.map(|path| fs::read_to_string(path).expect("a decision is text"));
    let kept_by = |text: &str| -> Vec<String> {
        let kept =
            text.split("**Kept by**").skip(1).map(|rest| rest.split("\n\n").next().unwrap_or_default());
        kept.flat_map(quoted).map(str::to_owned).collect()
    };
    let invariants = map.split("\n## Invariants").nth(1).and_then(|rest| rest.split("\n## ").next());
    let invariants = quoted(invariants.expect("it has invariants")).map(str::to_owned);
    for named in decisions.flat_map(|text| kept_by(&text)).chain(invariants) {
        let Some((_, test)) = named.rsplit_once("::") else { continue };
        let is_there =
            |text: &String| text.contains(&format!("fn {test}(")) || text.contains(&format!("mod {test}"));
        assert!(tests.iter().any(is_there), "there is no test `{named}`");
    }
}
