//! REFERENCE.md has what the code has: each command with its flags, each kind of record with its id.

use sluice::audit::RecordKind;

use super::{is_comment, none, reference, rust_files};

#[test]
fn the_reference_has_every_command_with_its_flags() {
    let reference = reference();
    let commands = reference.split("\n## Commands\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let commands = commands.expect("it has a section of commands");
    let (mut missing, mut count) = (Vec::new(), 0);
    for command in sluice::cli::commands().get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = command.get_name();
        // What is said of `serve` stands in two paragraphs.
        let heads = |part: &&str| part.split([' ', '`']).next() == Some(name);
        let said: String = commands.split("**`sluice ").skip(1).filter(heads).collect();
        let flags = command.get_arguments().filter(|flag| !flag.is_positional() && !flag.is_hide_set());
        for flag in flags.filter(|flag| !["help", "version"].contains(&flag.get_id().as_str())) {
            let long = flag.get_long().map(|long| format!("--{long}"));
            let short = flag.get_short().map(|short| format!("-{short}"));
            let is_said = |word: &String| said.contains(word.as_str());
            if !long.iter().chain(&short).any(is_said) {
                missing.push(format!("REFERENCE.md has no {long:?} {short:?} of `sluice {name}`"));
            }
            count += 1;
        }
        if said.is_empty() {
            missing.push(format!("REFERENCE.md has no `sluice {name}`"));
        }
    }
    assert!(count > 10, "{count} flags");
    none(&missing);
}

#[test]
fn the_reference_has_every_kind_of_record_with_its_id() {
    let reference = reference();
    let has_id = |kind: &RecordKind| {
        let row = format!("| {} | `{}` |", kind.name(), kind.message_id());
        reference.lines().any(|line| line.contains(row.trim_start_matches("| ")))
    };
    let is_described = |kind: &RecordKind| {
        let name = kind.name();
        reference.contains(&format!("| `kind` | `\"{name}\"` |"))
            || reference.contains(&format!("\n**`{name}`"))
    };
    let missing = RecordKind::ALL.iter().filter(|kind| !has_id(kind) || !is_described(kind));
    none(&missing.map(|kind| format!("REFERENCE.md lacks `{}` or its id", kind.name())).collect::<Vec<_>>());
}

#[test]
fn text_is_made_safe_to_print_in_one_place() {
    // `sys::text` and the formatter of records write JSON and names of the kernel's, not text for people.
    let spells =
        |line: &str| !is_comment(line) && (line.contains(r"\\u{{{") || line.contains("escape_debug"));
    let mut others = Vec::new();
    for source in rust_files("src").iter().filter(|source| source.path != "src/text.rs") {
        let code = source.code().lines().enumerate().filter(|(_, line)| spells(line));
        others.extend(code.map(|(at, line)| format!("{}:{}: {}", source.path, at + 1, line.trim())));
    }
    none(&others);
}
