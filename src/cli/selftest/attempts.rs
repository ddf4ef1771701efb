//! The attempts to get out of a confinement. Each is made in a process of its own, which says by its exit
//! code how it went: 0 for an attempt that succeeded, else the errno that it met.

use std::process::ExitCode;

use super::escape_attempt::EscapeAttempt;
use super::targets::EscapeTargets;

mod files;
mod kernel;
mod network;
mod processes;

/// The exit code of an attempt that failed without an errno.
const NO_ERRNO: u8 = 255;

/// All attempts, in the order of their report.
pub(super) fn attempts() -> impl Iterator<Item = &'static EscapeAttempt> {
    [files::READS, files::WRITES, files::METADATA, files::PROGRAMS]
        .into_iter()
        .chain([network::ATTEMPTS, processes::ATTEMPTS, kernel::ATTEMPTS])
        .flatten()
}

/// The name of the attempt that does nothing: it shows whether attempts can be made at all.
pub(super) const NO_ATTEMPT: &str = "none";

/// Makes an attempt in this process.
pub(super) fn make(name: &str, targets: &EscapeTargets) -> ExitCode {
    let Some(attempt) = attempts().find(|attempt| attempt.name == name) else {
        return ExitCode::from(if name == NO_ATTEMPT { 0 } else { NO_ERRNO });
    };
    match (attempt.act)(targets) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let errno = error.raw_os_error().and_then(|errno| u8::try_from(errno).ok());
            ExitCode::from(errno.unwrap_or(NO_ERRNO))
        }
    }
}
