//! `sluice serve`: the configuration of a broker from the command line, and the notices that it writes.

use std::io;
use std::path::{PathBuf, absolute};
use std::process::ExitCode;

use crate::broker::{LoadError, Notice, RulesLocation, ServeConfig, ServeError, serve};
use crate::spawn::RootPolicy;

use super::exit::{USAGE, fail};
use super::notices;
use super::rules_argument::RulesArgument;

/// Serves until the broker is told to stop. `file` or `directory` is given; the
/// last paths are the socket and the directory of a FIFO door.
pub(super) fn run(
    file: Option<PathBuf>,
    directory: Option<PathBuf>,
    [socket, fifo_dir]: [Option<PathBuf>; 2],
    as_root: RootPolicy,
) -> ExitCode {
    notices::report_panics();
    let file = file.map(|file| RulesArgument::find(file.as_os_str()).map(|rules| rules.file().to_owned()));
    let file = match file.transpose() {
        Ok(file) => file,
        Err(why) => return fail(&format!("sluice: {why}")),
    };
    let config = config(file, directory, [socket, fifo_dir], as_root).map_err(ServeError::Io);
    let code = match config.and_then(|config| serve(&config, say)) {
        Ok(()) => ExitCode::SUCCESS,
        // Diagnostics begin with their file and line, as compilers' do, so that editors find the place.
        Err(ServeError::Load(error @ LoadError::Rules(_))) => leave(&error.to_string()),
        Err(error) => leave(&format!("sluice: {error}")),
    };
    notices::flush();
    code
}

fn config(
    file: Option<PathBuf>,
    directory: Option<PathBuf>,
    [socket, fifo_dir]: [Option<PathBuf>; 2],
    as_root: RootPolicy,
) -> io::Result<ServeConfig> {
    let rules = match (file, directory) {
        (_, Some(directory)) => RulesLocation::Directory(absolute(directory)?),
        (file, None) => RulesLocation::File(absolute(file.unwrap_or_default())?),
    };
    let socket = socket.map(absolute).transpose()?;
    Ok(ServeConfig { rules, socket, fifo_dir: fifo_dir.map(absolute).transpose()?, as_root })
}

fn leave(why: &str) -> ExitCode {
    notices::note(why);
    ExitCode::from(USAGE)
}

fn say(notice: &Notice<'_>) {
    notices::note(&format!("sluice: {notice}"));
}
