//! Exit codes of `sluice`, and the functions that write an answer or an error and return one.

use std::io::{self, Write};
use std::process::ExitCode;

/// Exit code for an answer that is no.
pub(super) const NO: u8 = 1;
/// Exit code for a wrong command line or environment.
pub(super) const USAGE: u8 = 2;

/// Writes an error of the command line, the rules or the environment, for a command that does not serve.
pub(super) fn fail(message: &str) -> ExitCode {
    // There is no other place for an error of stderr.
    drop(io::stderr().write_all(format!("{}\n", message.trim_end()).as_bytes()));
    ExitCode::from(USAGE)
}

/// Writes an answer to stdout as it comes. A reader that leaves before the end is no failure.
pub(super) fn answer(write: impl FnOnce(&mut dyn Write) -> io::Result<ExitCode>) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    told(write(&mut out).and_then(|code| out.flush().map(|()| code)), ExitCode::SUCCESS)
}

/// Writes an answer that is yes or no to stdout. The whole answer is made before any of it is written, so
/// that the exit code is right however much of the text is read.
pub(super) fn answer_whole(write: impl FnOnce(&mut dyn Write) -> io::Result<ExitCode>) -> ExitCode {
    let mut text = Vec::new();
    let code = write(&mut text).expect("memory takes every write");
    let mut out = io::stdout().lock();
    told(out.write_all(&text).and_then(|()| out.flush()).map(|()| code), code)
}

/// The exit code of an answer that was written; `cut` is the code for an answer whose reader went away.
fn told(written: io::Result<ExitCode>, cut: ExitCode) -> ExitCode {
    match written {
        Ok(code) => code,
        Err(source) if source.kind() == io::ErrorKind::BrokenPipe => cut,
        Err(source) => fail(&format!("sluice: cannot write the answer: {source}")),
    }
}
