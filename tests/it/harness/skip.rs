//! A test that cannot run here says so; where everything must run, that is a failure. A reason is a cause
//! and, after a colon, the one command that mends it: `tests/run` groups the skipped by it. For the tests of
//! the machine too.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Notes that the running test does not run, and why. With `CI=true` it fails instead.
#[track_caller]
pub(crate) fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} cannot run: {reason}");
    assert!(!reason.is_empty() && !reason.contains('\n'), "{test}: a reason is one line: {reason:?}");
    let line = format!("{test}: {reason}\n");
    if let Some(path) = std::env::var_os("SLUICE_SKIPS") {
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the list of skips can be written");
    }
}

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
