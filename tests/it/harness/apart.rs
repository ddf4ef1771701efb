//! A mount namespace of a test's own.

use nix::sched::{CloneFlags, unshare};

use super::program::run;

/// Runs a test in a thread whose mounts, and those of all that it starts, nobody else sees. Needs root.
pub(crate) fn apart(test: impl FnOnce() + Send + 'static) {
    let name = std::thread::current().name().unwrap_or("apart").to_owned();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).expect("root may have a namespace");
        run("mount".into(), ["--make-rprivate", "/"], b"").exited(0);
        test();
    });
    let ended = thread.expect("a thread can be made").join();
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}
