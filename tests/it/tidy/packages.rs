//! The packages that depend on this one keep the house rules too, and bring nothing into the broker's tree.

use super::*;

/// Their source files, without what is built there.
fn package_files() -> Vec<Source> {
    let files = rust_files("packaging").into_iter();
    let files: Vec<_> = files.filter(|source| !source.path.contains("/target/")).collect();
    assert!(files.len() > 10, "{} files", files.len());
    files
}

#[test]
fn packages_keep_the_lengths_of_functions_files_and_comments() {
    let mut complaints = Vec::new();
    for source in package_files() {
        complaints.extend(long_functions(&source));
        let lines = source.text.lines().count();
        complaints.extend((lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", source.path)));
        let wide = source.lines().filter(|(_, line)| is_comment(line));
        let wide = wide.filter(|(_, line)| line.chars().count() > COMMENT_COLUMNS_MAX);
        complaints.extend(wide.map(|(number, _)| format!("{}:{number}: a comment is too wide", source.path)));
        complaints
            .extend((!source.text.starts_with("//! ")).then(|| format!("{}: no paragraph", source.path)));
    }
    none(&complaints);
}

#[test]
fn packages_have_no_unsafe_code_of_their_own() {
    let mut complaints = Vec::new();
    for source in package_files() {
        let word = format!("un{}", "safe ");
        let marked = source.lines().filter(|(_, line)| !is_comment(line) && line.contains(&word));
        let marked = marked.filter(|(_, line)| !line.contains("reason = "));
        complaints.extend(marked.map(|(number, line)| format!("{}:{number}: {line}", source.path)));
    }
    none(&complaints);
}

/// The names of the dependencies in a table of a manifest.
fn dependencies(manifest: &str) -> BTreeSet<&str> {
    let tables = manifest.split("\n[").filter(|table| {
        let name = table.split(']').next().unwrap_or_default();
        name.ends_with("dependencies")
    });
    tables
        .flat_map(|table| table.lines().skip(1))
        .filter_map(|line| Some(line.split_once(" = ")?.0))
        .collect()
}

#[test]
fn packages_bring_nothing_into_the_brokers_tree() {
    let read = |path: PathBuf| fs::read_to_string(path).expect("it is UTF-8");
    let own = read(root().join("Cargo.toml"));
    let tree = read(root().join("Cargo.lock"));
    let own = dependencies(&own);
    let (mut complaints, mut count) = (Vec::new(), 0);
    for entry in fs::read_dir(root().join("packaging")).expect("the directory is there").flatten() {
        let manifest = entry.path().join("Cargo.toml");
        if !manifest.exists() {
            continue;
        }
        let text = read(manifest);
        assert!(text.contains("default-features = false }\n"), "{text}: it links the broker");
        for theirs in dependencies(&text).difference(&own).filter(|name| **name != "sluice") {
            count += 1;
            let is_there = tree.contains(&format!("\nname = \"{theirs}\"\n"));
            complaints.extend(is_there.then(|| format!("Cargo.lock has {theirs}, which {entry:?} brings")));
        }
    }
    assert!(count > 2, "{count} dependencies");
    none(&complaints);
}
