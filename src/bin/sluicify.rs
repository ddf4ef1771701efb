//! The caller's verb.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice::sluicify::run(std::env::args_os())
}
