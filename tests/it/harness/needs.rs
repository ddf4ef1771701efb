//! What a test needs of the machine: a program, root, a capability. Where it is not there, the test is
//! skipped by its cause.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::program::run;
use super::skip::{is_root, skip};

/// How an ordinary user runs what only root can test.
const AS_ROOT: &str = "not root: sudo env \"PATH=$PATH\" \"RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}\" \
                       \"CARGO_TARGET_DIR=$PWD/target/root\" tests/run";

/// What a container keeps from its root.
const CONFINED: &str = "this container lacks mounts, loop devices or capabilities: tests/run outside of it";

/// Why bubblewrap is there and does not work.
const NO_NAMESPACES: &str = "bwrap may not make namespaces: examples/quickstart says what mends it";

/// A capability that a container's root may lack, by its number (capabilities(7)).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Capability {
    NetAdmin = 12,
    SysPtrace = 19,
}

/// Whether the test can run, which it can if `condition` holds; else it is skipped for this reason.
#[track_caller]
fn unless(condition: bool, reason: &str) -> bool {
    if !condition {
        skip(reason);
    }
    condition
}

/// Where a program is, which an ordinary user's `PATH` may not tell.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let dirs = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
    dirs.iter().map(|dir| Path::new(dir).join(program)).find(|path| path.exists())
}

/// Whether this program, of this package, is installed. Else the test is skipped.
#[track_caller]
pub(crate) fn needs(program: &str, package: &str) -> bool {
    unless(find(program).is_some(), &format!("no {program}: apt-get install {package}"))
}

/// Whether the system's Python has this module, of this package. Else the test is skipped.
#[track_caller]
pub(crate) fn needs_python_module(module: &str, package: &str) -> bool {
    let has = || run("/usr/bin/python3".into(), ["-c", &format!("import {module}")], b"").code() == Some(0);
    needs("python3", "python3")
        && unless(has(), &format!("no {module} for python3: apt-get install {package}"))
}

/// Whether bubblewrap makes a sandbox with these options here. Else the test is skipped.
#[track_caller]
pub(crate) fn needs_bubblewrap(options: &[&str]) -> bool {
    let works = || run("bwrap".into(), options.iter().chain(&["true"]), b"").code() == Some(0);
    needs("bwrap", "bubblewrap") && unless(works(), NO_NAMESPACES)
}

/// Whether the tests run as root. Else the test is skipped.
#[track_caller]
pub(crate) fn needs_root() -> bool {
    unless(is_root(), AS_ROOT)
}

/// Whether the tests run as root with this capability. Else the test is skipped.
#[track_caller]
pub(crate) fn needs_capability(capability: Capability) -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("there is /proc");
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:")).map(str::trim);
    let set = set.and_then(|set| u64::from_str_radix(set, 16).ok()).expect("the kernel has the set");
    needs_root() && unless(set & (1 << capability as u32) != 0, CONFINED)
}

/// Whether strace can look into a broker, which no other process of its user may. Else the test is skipped.
#[track_caller]
pub(crate) fn needs_strace() -> bool {
    needs("strace", "strace") && needs_capability(Capability::SysPtrace)
}

/// Whether root may mount a memory file system here, in a mount namespace. Else the test is skipped.
#[track_caller]
pub(crate) fn needs_mounts() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    let try_out = || in_namespace("mount -t tmpfs none \"$(mktemp -d)\"");
    needs_root() && unless(*WORKS.get_or_init(try_out), CONFINED)
}

/// Whether an ordinary user may make user namespaces, which the kernel allows nobody in a chroot. Else the
/// test is skipped.
#[track_caller]
pub(crate) fn needs_user_namespaces() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    let try_out = || {
        let tried = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "true"])
            .output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    unless(
        *WORKS.get_or_init(try_out),
        "no user namespaces here: not in a chroot, nor where a setting denies them",
    )
}

/// Whether root may mount an image of a file system here as well. Else the test is skipped.
#[track_caller]
pub(crate) fn needs_loop_devices() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    let try_out = || {
        in_namespace(
            "dir=$(mktemp -d); mount -t tmpfs none $dir; truncate -s 1M $dir/image; mkfs.ext4 -q $dir/image; \
             mkdir $dir/place; mount -o loop $dir/image $dir/place",
        )
    };
    needs_mounts() && needs("mkfs.ext4", "e2fsprogs") && unless(*WORKS.get_or_init(try_out), CONFINED)
}

/// Whether a script works as root, with its mounts in a namespace that ends with it.
fn in_namespace(script: &str) -> bool {
    let dir = tempfile::tempdir().expect("there is a directory for temporary files");
    let script = format!("export TMPDIR={}; {script}", dir.path().display());
    run("unshare".into(), ["--mount", "sh", "-ec", &script], b"").code() == Some(0)
}
