//! The operator's command lines: `sluice`'s flags are in one table, [`Sluice`]. Here, and in `sluicify.rs` for the
//! caller's program, is all that prints or chooses an exit code.

#![forbid(unsafe_code)]

mod check;
mod log;
mod match_cmd;
mod notices;
mod output;
mod rules_argument;
mod serve;
mod settings;
mod verify;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use nix::unistd::Pid;

use crate::audit::{CallCount, RuleQuery};
use crate::broker::{Disk, InspectedRules, inspect, read_rules};
use crate::ids::ClaimedWord;
use crate::limits::ARGC_MAX;
use crate::spawn::{NurseryRole, RootPolicy, own_rights, run_nursery};

use output::OutputForm;
use rules_argument::RulesArgument;

/// The outbound gate for sandboxed processes: runs what a rule allows, with the caller's own stdio, on record.
#[derive(Debug, Parser)]
#[command(name = "sluice", version)]
struct Sluice {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve rules on sockets.
    Serve {
        /// The rules file.
        #[arg(long, value_name = "FILE", required_unless_present = "rules_dir")]
        rules: Option<PathBuf>,
        /// A directory with NAME.rules for each socket that systemd hands over by the name NAME.
        #[arg(long, value_name = "DIR", conflicts_with_all = ["rules", "socket"])]
        rules_dir: Option<PathBuf>,
        /// The socket to make; without it, the sockets that systemd hands over (LISTEN_FDS).
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
        /// Serve as root, where every command is root's; refused otherwise.
        #[arg(long)]
        allow_root: bool,
    },
    /// Say what is wrong with rules, or what they allow.
    Check {
        /// The names of rules, or files; `-` is standard input.
        #[arg(required = true, value_name = "NAME|FILE|-")]
        rules: Vec<OsString>,
        /// Exit 1 for a warning, too.
        #[arg(long)]
        deny_warnings: bool,
        /// Answer as JSON, one value a line.
        #[arg(long)]
        json: bool,
        /// Say nothing of what is good.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Say which rule a command line meets, or why none. Runs nothing.
    Match {
        /// Answer as JSON.
        #[arg(long)]
        json: bool,
        /// The name of the rules, or their file; `-` is standard input.
        #[arg(value_name = "NAME|FILE|-")]
        rules: OsString,
        /// The command line.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        argv: Vec<OsString>,
    },
    /// Show the calls on record.
    Log(LogArgs),
    /// Say whether a manifest is what its broker wrote, and the first line that is not.
    Verify {
        /// The name of the rules, for all files of their manifest; or the files of one manifest, rotated ones
        /// too, in any order, packed with gzip or zstd or not.
        #[arg(required = true, value_name = "NAME|FILE")]
        files: Vec<OsString>,
        /// The journal to compare with: any, user, system, none, or a directory.
        #[arg(long, value_name = "WHICH", default_value = "any", value_parser = verify::parse_journal)]
        journal: verify::JournalChoice,
        /// What cannot be shown is a no, as what does not fit is.
        #[arg(long)]
        strict: bool,
        /// Answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Makes processes for the broker; started by it alone.
    #[command(name = NurseryRole::ARGUMENT, hide = true)]
    Nursery { broker: i32, open_files: u64 },
}

/// What `sluice log` is asked.
#[derive(Debug, Args)]
struct LogArgs {
    /// The name of the rules; `default` if there is none.
    #[arg(conflicts_with = "file")]
    name: Option<String>,
    /// The manifest, instead of that of a name; what rotation made of it is read too.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The last N calls, or all. The last 20, unless a time or a call is given.
    #[arg(short = 'n', long, value_name = "N", value_parser = log::parse_count)]
    lines: Option<CallCount>,
    /// Go on with what is written from now on.
    #[arg(short, long, conflicts_with_all = ["call", "output", "until"])]
    follow: bool,
    /// Calls from this time on: RFC 3339, "YYYY-MM-DD HH:MM", HH:MM, today, yesterday, -1h.
    #[arg(long, value_name = "WHEN", value_parser = log::parse_when, allow_hyphen_values = true)]
    since: Option<u64>,
    /// Calls up to this time.
    #[arg(long, value_name = "WHEN", value_parser = log::parse_when, allow_hyphen_values = true)]
    until: Option<u64>,
    /// All that is on record of one call.
    #[arg(long, value_name = "N", conflicts_with_all = ["rejects", "rule", "lines", "since", "until"])]
    call: Option<u64>,
    /// Refusals only.
    #[arg(long)]
    rejects: bool,
    /// Calls of a rule: its line, FILE:LINE for one that was included, or text that the command line has.
    #[arg(long, value_name = "LINE|TEXT", allow_hyphen_values = true, value_parser = |text: &str| Ok::<_, String>(log::parse_rule(text)))]
    rule: Option<RuleQuery>,
    /// The records as they are, one a line.
    #[arg(long)]
    json: bool,
    /// What the command of one call printed, where it was captured.
    #[arg(long, value_name = "N", conflicts_with_all = ["call", "rejects", "rule", "lines", "since", "until", "json"])]
    output: Option<u64>,
    /// With --output: what it wrote to stderr.
    #[arg(long, requires = "output", conflicts_with = "stdin")]
    stderr: bool,
    /// With --output: what it read.
    #[arg(long, requires = "output")]
    stdin: bool,
}

/// The answer is no.
const NO: u8 = 1;
/// The command line or the environment is wrong.
const USAGE: u8 = 2;

/// `sluice`, from its command line to its exit code.
pub fn sluice(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    if let Err(why) = own_rights() {
        return serve::fail(&format!("sluice: {why}"));
    }
    let arguments: Vec<_> = arguments.into_iter().collect();
    match arguments.get(1..).unwrap_or_default() {
        [help, rules] if help == "help" && rules == "rules" => return print_text(include_str!("rules.txt")),
        [version] if version == "version" => {
            return print_text(concat!("sluice ", env!("CARGO_PKG_VERSION"), "\n"));
        }
        _ => {}
    }
    match Sluice::try_parse_from(arguments) {
        Ok(Sluice { verb }) => run(verb),
        Err(error) => {
            // Nowhere is left to say that it could not be said.
            drop(error.print());
            ExitCode::from(if error.use_stderr() { USAGE } else { 0 })
        }
    }
}

fn print_text(text: &str) -> ExitCode {
    answer(|out| out.write_all(text.as_bytes()).map(|()| ExitCode::SUCCESS))
}

fn run(verb: Verb) -> ExitCode {
    match verb {
        Verb::Serve { rules, rules_dir, socket, allow_root } => serve::run(
            rules,
            rules_dir,
            socket,
            if allow_root { RootPolicy::Serve } else { RootPolicy::Refuse },
        ),
        Verb::Check { rules, deny_warnings, json, quiet } => {
            let rigour =
                if deny_warnings { check::WarningLevel::DenyWarnings } else { check::WarningLevel::Usual };
            check_all(&rules, form(json), rigour, quiet)
        }
        Verb::Match { json, rules, argv } => match_one(&rules, &argv, form(json)),
        Verb::Log(args) => log::run(&args),
        Verb::Verify { files, journal, strict, json } => {
            let rigour = if strict { verify::ProofLevel::Strict } else { verify::ProofLevel::Usual };
            match verify::read(&files, &journal) {
                Ok(report) => answer_whole(|out| verify::write(&report, rigour, form(json), out)),
                Err(error) => serve::fail(&format!("sluice: {error}")),
            }
        }
        Verb::Nursery { broker, open_files } => run_nursery(Pid::from_raw(broker), open_files)
            .unwrap_or_else(|source| serve::fail(&format!("sluice: the nursery cannot start: {source}"))),
    }
}

fn form(json: bool) -> OutputForm {
    if json { OutputForm::Json } else { OutputForm::Text }
}

fn check_all(rules: &[OsString], form: OutputForm, rigour: check::WarningLevel, is_quiet: bool) -> ExitCode {
    let asked = rules.iter().map(|word| RulesArgument::find(word)).collect::<Result<Vec<_>, _>>();
    match asked {
        Ok(asked) => answer_whole(|out| {
            let mut said = Vec::new();
            let code = check::run(&asked, (form, rigour), &look, &mut said)?;
            let is_said = !is_quiet || code != ExitCode::SUCCESS;
            out.write_all(if is_said { &said } else { &[] }).map(|()| code)
        }),
        Err(why) => serve::fail(&format!("sluice: {why}")),
    }
}

/// Rules as they are, whoever may write them.
fn look(asked: &RulesArgument) -> InspectedRules {
    let text = match asked {
        RulesArgument::Stdin(_) => Some(read_rules(io::stdin().lock())),
        RulesArgument::File(_) | RulesArgument::Named { .. } => None,
    };
    inspect(asked.file(), text, &asked.environment())
}

fn match_one(rules: &OsStr, argv: &[OsString], form: OutputForm) -> ExitCode {
    let asked = match RulesArgument::find(rules) {
        Ok(asked) => asked,
        Err(why) => return serve::fail(&format!("sluice: {why}")),
    };
    let policy = match look(&asked).policy {
        Ok(policy) => policy,
        Err(error) => return serve::fail(&error.to_string()),
    };
    let words: Option<Vec<_>> = argv.iter().map(|word| word.to_str().and_then(ClaimedWord::new)).collect();
    let Some(words) = words.filter(|words| words.len() <= ARGC_MAX) else {
        return serve::fail("sluice: no request can hold these words: too many, too long, or not UTF-8");
    };
    answer_whole(|out| match_cmd::run(&policy, &words, form, &Disk, out))
}

/// Writes an answer to stdout as it comes. A reader that has seen enough is no failure.
fn answer(write: impl FnOnce(&mut dyn Write) -> io::Result<ExitCode>) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    told(write(&mut out).and_then(|code| out.flush().map(|()| code)), ExitCode::SUCCESS)
}

/// The same for an answer that is yes or no: it is worked out before it is written, so that the exit code
/// says it however much of the text is read.
fn answer_whole(write: impl FnOnce(&mut dyn Write) -> io::Result<ExitCode>) -> ExitCode {
    let mut text = Vec::new();
    let code = write(&mut text).expect("memory takes every write");
    let mut out = io::stdout().lock();
    told(out.write_all(&text).and_then(|()| out.flush()).map(|()| code), code)
}

/// The exit code of an answer that was written; `cut` is that of one whose reader went away.
fn told(written: io::Result<ExitCode>, cut: ExitCode) -> ExitCode {
    match written {
        Ok(code) => code,
        Err(source) if source.kind() == io::ErrorKind::BrokenPipe => cut,
        Err(source) => serve::fail(&format!("sluice: cannot write the answer: {source}")),
    }
}
