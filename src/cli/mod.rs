//! The operator's command lines. This file only dispatches: the flags are in one table, `args.rs`, the exit
//! codes in `exit.rs`. No code but this folder's, and `sluicify.rs` for the caller's program, prints or
//! chooses an exit code.

#![forbid(unsafe_code)]

mod args;
mod check;
mod confinement_settings;
mod exit;
mod explain;
mod init;
mod log;
mod match_cmd;
mod mcp;
mod notices;
mod output;
mod rules_argument;
mod selftest;
mod serve;
mod settings;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Command, CommandFactory, Parser};
use nix::unistd::Pid;

use crate::spawn::{RootPolicy, own_rights, run_nursery};

use args::{Sluice, Verb};
use exit::{USAGE, answer, answer_whole, fail};
use output::OutputForm;

/// The commands and flags of `sluice`, as clap has them.
pub fn commands() -> Command {
    Sluice::command()
}

/// `sluice`, from its command line to its exit code.
pub fn sluice(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    if let Err(why) = own_rights() {
        return fail(&format!("sluice: {why}"));
    }
    let arguments: Vec<_> = arguments.into_iter().collect();
    match arguments.get(1..).unwrap_or_default() {
        [help, rules] if help == "help" && rules == "rules" => return print_text(include_str!("rules.txt")),
        _ => {}
    }
    match Sluice::try_parse_from(arguments) {
        Ok(Sluice { verb }) => run(verb),
        Err(error) => {
            // An error of stderr cannot be reported anywhere.
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
        Verb::Serve { rules, rules_dir, socket, fifo_dir, allow_root } => serve::run(
            rules,
            rules_dir,
            [socket, fifo_dir],
            if allow_root { RootPolicy::Serve } else { RootPolicy::Refuse },
        ),
        Verb::Check { rules, deny_warnings, json, quiet } => {
            let rigour =
                if deny_warnings { check::WarningLevel::DenyWarnings } else { check::WarningLevel::Usual };
            check::run(&rules, form(json), rigour, quiet)
        }
        Verb::Match { json, rules, argv } => match_cmd::run(&rules, &argv, form(json)),
        Verb::Explain { json, rules, argv } => explain::run(&rules, &argv, form(json)),
        Verb::Selftest { profile, rules, dir, json, attempt } => match attempt.as_slice() {
            [name, targets] => selftest::attempt(&name.to_string_lossy(), targets),
            _ => selftest::run(profile.as_deref(), rules.as_deref(), dir, form(json)),
        },
        Verb::Log(args) => log::run(&args),
        Verb::Verify { files, journal, strict, json } => {
            let rigour = if strict { verify::ProofLevel::Strict } else { verify::ProofLevel::Usual };
            match verify::read(&files, &journal) {
                Ok(report) => answer_whole(|out| verify::write(&report, rigour, form(json), out)),
                Err(error) => fail(&format!("sluice: {error}")),
            }
        }
        Verb::Init { name, agent, socket, undo } => init::run(&name, agent, socket, undo),
        Verb::Mcp { socket } => mcp::run(&socket),
        Verb::Version => print_text(concat!("sluice ", env!("CARGO_PKG_VERSION"), "\n")),
        Verb::Nursery { broker, open_files } => run_nursery(Pid::from_raw(broker), open_files)
            .unwrap_or_else(|source| fail(&format!("sluice: the nursery cannot start: {source}"))),
    }
}

fn form(json: bool) -> OutputForm {
    if json { OutputForm::Json } else { OutputForm::Text }
}
