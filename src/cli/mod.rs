//! The command lines, and the only place that prints or chooses an exit code. `sluice`'s flags are in one table,
//! [`Sluice`]; `sluicify`, which must stay small, reads its few words by hand in `caller.rs`.

#![forbid(unsafe_code)]

mod caller;
mod serve;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::unistd::Pid;

use crate::spawn::{Role, run_nursery};

pub use caller::sluicify;

/// The outbound gate for sandboxed processes: runs what a rule allows, with the caller's own stdio, on record.
#[derive(Debug, Parser)]
#[command(name = "sluice", version)]
struct Sluice {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve the rules of a file on a socket.
    Serve {
        /// The rules file.
        #[arg(long, value_name = "FILE")]
        rules: PathBuf,
        /// The socket to make; without it, the sockets that systemd hands over (LISTEN_FDS).
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
    /// Makes processes for the broker; started by it alone.
    #[command(name = Role::ARGUMENT, hide = true)]
    Nursery { broker: i32, open_files: u64 },
}

/// The answer is no.
const NO: u8 = 1;
/// The command line or the environment is wrong.
const USAGE: u8 = 2;

/// `sluice`, from its command line to its exit code.
pub fn sluice(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Sluice::try_parse_from(arguments) {
        Ok(Sluice { verb }) => run(verb),
        Err(error) => {
            // Nowhere is left to say that it could not be said.
            drop(error.print());
            ExitCode::from(if error.use_stderr() { USAGE } else { 0 })
        }
    }
}

fn run(verb: Verb) -> ExitCode {
    match verb {
        Verb::Serve { rules, socket } => serve::run(&rules, socket.as_deref()),
        Verb::Nursery { broker, open_files } => run_nursery(Pid::from_raw(broker), open_files),
    }
}
