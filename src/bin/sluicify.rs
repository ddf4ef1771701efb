//! The caller's verb.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice::cli::caller::run(std::env::args_os())
}
