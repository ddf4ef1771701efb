//! Warnings of rules that work in a directory which callers write, as `caller_writes` has it: files there
//! decide what most programs do.

use std::path::{Path, PathBuf};

use super::confinement::{Confinement, UnixAccess};
use super::fault::{RulesFault, SourceSpan};
use super::files::normalized;
use super::lint_context::LintContext;
use super::parse::Stanza;
use super::rule::{ExpectedWord, ProgramWord, Rule};

/// Options that name a directory in which a program works, or a file that says what it does.
const WORKPLACE_OPTIONS: [&str; 13] = [
    "-C",
    "-f",
    "--cwd",
    "--directory",
    "--file",
    "--git-dir",
    "--makefile",
    "--manifest-path",
    "--prefix",
    "--project",
    "--project-dir",
    "--rootdir",
    "--work-tree",
];

/// Programs that run the file which one of their words names.
const INTERPRETERS: [&str; 13] =
    ["awk", "bash", "dash", "ksh", "lua", "node", "perl", "php", "python", "python3", "ruby", "sh", "zsh"];

/// Profiles for programs: the first one else.
const PROFILES: [(&str, &[&str]); 2] = [
    (
        "build",
        &[
            "bun", "cargo", "cmake", "go", "just", "make", "meson", "ninja", "npm", "npx", "pip", "pip3",
            "pnpm",
        ],
    ),
    ("git", &["git"]),
];

/// The warning for a rule, with the directories that callers write.
pub(super) fn caller_tree(
    stanza: &Stanza<'_>,
    rule: &Rule,
    callers: &[PathBuf],
    around: &dyn LintContext,
) -> Option<RulesFault> {
    let is_written = |path: &Path| callers.iter().any(|tree| path.starts_with(normalized(tree)));
    let (span, path) = workplace(stanza, rule, &is_written, around)?;
    let shown = path.display();
    let confinement = rule.settings.confinement.as_deref();
    let Some(confined) = confinement.filter(|confined| confined.write.is_some()) else {
        let message =
            format!("callers write {shown}, and nothing confines what this rule's command does there");
        return Some(
            RulesFault::new(span, message).help(format!("write `confine = {}` below", profile_of(rule))),
        );
    };
    (confined.unix == UnixAccess::Any && can_execute(confined, &path)).then(|| {
        let message = format!(
            "callers write {shown}, and what is executed there reaches every unix socket, the service manager's, too"
        );
        RulesFault::new(span, message).help(
            "write `unix = none`, or the places of the sockets that are needed: a service manager starts programs that nothing confines",
        )
    })
}

/// The first thing of a rule's that callers write, and the place in the rules that says so.
fn workplace(
    stanza: &Stanza<'_>,
    rule: &Rule,
    is_written: &dyn Fn(&Path) -> bool,
    around: &dyn LintContext,
) -> Option<(SourceSpan, PathBuf)> {
    let cwd = normalized(&rule.settings.cwd);
    if is_written(&cwd) {
        let attribute = stanza.attributes.iter().find(|attribute| attribute.key == "cwd");
        return Some((attribute.map_or(stanza.words[0].span, |cwd| cwd.value_span()), cwd));
    }
    if let Some(program) = around.program(rule).ok().filter(|program| is_written(program)) {
        return Some((stanza.words[0].span, program));
    }
    let named = named_places(rule).into_iter().map(|(at, path)| (at, normalized(&cwd.join(path))));
    let (at, path) = named.into_iter().find(|(_, path)| is_written(path))?;
    Some((stanza.words[at].span, path))
}

/// The places that a rule's words name as what its program works with, each with the number of its word.
fn named_places(rule: &Rule) -> Vec<(usize, PathBuf)> {
    let mut places = Vec::new();
    let mut before = "";
    let runs_files = INTERPRETERS.contains(&bare_name(rule));
    for (at, word) in rule.words().iter().enumerate().skip(1) {
        let is_named = WORKPLACE_OPTIONS.contains(&before);
        match word {
            ExpectedWord::Slot(slot) => {
                places.extend(slot.directory().filter(|_| is_named).map(|path| (at, path.to_owned())));
                before = "";
            }
            ExpectedWord::Literal(word) => {
                let path = if is_named { Some(&**word) } else { glued(word) };
                let path = path.or_else(|| Some(&**word).filter(|word| runs_files && word.contains('/')));
                places.extend(path.map(|path| (at, PathBuf::from(path))));
                before = word;
            }
        }
    }
    places
}

/// The value in `--option=VALUE` or `-CVALUE`.
fn glued(word: &str) -> Option<&str> {
    let value = |option: &&str| {
        let rest = word.strip_prefix(*option)?;
        if option.starts_with("--") {
            rest.strip_prefix('=')
        } else {
            Some(rest).filter(|rest| rest.contains('/'))
        }
    };
    WORKPLACE_OPTIONS.iter().find_map(value)
}

/// The name of a rule's program, without its directory.
pub(super) fn bare_name(rule: &Rule) -> &str {
    match &rule.program {
        ProgramWord::Bare(name) => name,
        ProgramWord::Absolute(path) => path.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
    }
}

fn profile_of(rule: &Rule) -> &'static str {
    let name = bare_name(rule);
    PROFILES.iter().find(|(_, programs)| programs.contains(&name)).map_or("workspace", |(profile, _)| profile)
}

/// Whether a command can execute something at, in or above a path.
fn can_execute(confined: &Confinement, path: &Path) -> bool {
    let overlaps = |place: &Path| place.starts_with(path) || path.starts_with(place);
    confined.exec.as_ref().is_none_or(|exec| exec.iter().any(|place| overlaps(&place.path)))
}
