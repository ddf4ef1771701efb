//! The broker and its operator's commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice::cli::sluice(std::env::args_os())
}
