//! `sluice mcp`: becomes the program `sluice-mcp`, which is a package of its own. It is looked for beside
//! this program, and then on `PATH`.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use super::exit::fail;

/// The name of the program.
pub(super) const PROGRAM: &str = "sluice-mcp";

/// Becomes the server for the broker at `socket`. It comes back only where that fails.
pub(super) fn run(socket: &OsStr) -> ExitCode {
    let programs = beside().into_iter().chain([PROGRAM.into()]);
    let mut error = io::Error::from(io::ErrorKind::NotFound);
    for program in programs {
        error = Command::new(program).arg("--socket").arg(socket).exec();
        if error.kind() != io::ErrorKind::NotFound {
            break;
        }
    }
    if error.kind() != io::ErrorKind::NotFound {
        return fail(&format!("sluice: {PROGRAM} cannot be started: {error}"));
    }
    fail(&format!(
        "sluice: {PROGRAM} is not installed, neither beside this program nor on PATH; it is built by `cargo install \
         --path packaging/mcp` in sluice's sources"
    ))
}

/// The path of the program where it stands beside this one.
fn beside() -> Option<PathBuf> {
    env::current_exe().ok().map(|own| own.with_file_name(PROGRAM))
}
