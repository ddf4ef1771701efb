//! `sluice serve`.

use std::io::{self, Write};
use std::path::{PathBuf, absolute};
use std::process::ExitCode;

use crate::broker::{Config, LoadError, Notice, Rules, ServeError, serve};
use crate::spawn::AsRoot;

use super::USAGE;

/// Serves until told to stop. One of the first two is given.
pub(super) fn run(
    file: Option<PathBuf>,
    directory: Option<PathBuf>,
    socket: Option<PathBuf>,
    as_root: AsRoot,
) -> ExitCode {
    match config(file, directory, socket, as_root)
        .map_err(ServeError::Io)
        .and_then(|config| serve(&config, say))
    {
        Ok(()) => ExitCode::SUCCESS,
        // Diagnostics begin with their file and line, as compilers' do, so that editors find the place.
        Err(ServeError::Load(error @ LoadError::Rules(_))) => fail(&error.to_string()),
        Err(error) => fail(&format!("sluice: {error}")),
    }
}

fn config(
    file: Option<PathBuf>,
    directory: Option<PathBuf>,
    socket: Option<PathBuf>,
    as_root: AsRoot,
) -> io::Result<Config> {
    let rules = match (file, directory) {
        (_, Some(directory)) => Rules::Directory(absolute(directory)?),
        (file, None) => Rules::File(absolute(file.unwrap_or_default())?),
    };
    Ok(Config { rules, socket: socket.map(absolute).transpose()?, as_root })
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
