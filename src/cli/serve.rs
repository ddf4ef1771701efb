//! `sluice serve`.

use std::io::{self, Write};
use std::path::{Path, absolute};
use std::process::ExitCode;

use crate::broker::{Config, LoadError, Notice, ServeError, serve};

use super::USAGE;

/// Serves until told to stop.
pub(super) fn run(rules: &Path, socket: Option<&Path>) -> ExitCode {
    let config =
        absolute(rules).and_then(|rules| Ok(Config { rules, socket: socket.map(absolute).transpose()? }));
    match config.map_err(ServeError::Io).and_then(|config| serve(&config, say)) {
        Ok(()) => ExitCode::SUCCESS,
        // Diagnostics begin with their file and line, as compilers' do, so that editors find the place.
        Err(ServeError::Load(error @ LoadError::Rules(_))) => fail(&error.to_string()),
        Err(error) => fail(&format!("sluice: {error}")),
    }
}

/// Says what is wrong with the command line, the rules or the environment.
pub(super) fn fail(message: &str) -> ExitCode {
    print(message);
    ExitCode::from(USAGE)
}

fn say(notice: &Notice<'_>) {
    print(&format!("sluice: {notice}"));
}

/// One `write`, so that lines of threads do not mix. A closed stderr must not end the broker.
fn print(message: &str) {
    drop(io::stderr().write_all(format!("{}\n", message.trim_end()).as_bytes()));
}
