//! The caller's verb.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice::cli::sluicify(std::env::args_os())
}
