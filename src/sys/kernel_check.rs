//! Checks the newer system calls that a broker needs, by making each once in a way that changes nothing: an
//! old kernel lacks them, and the system call filter of a container or a unit may deny one.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::utsname::uname;
use nix::unistd::getpid;

use super::pidfd::{open_pidfd, process_is_there};
use super::retry::uninterrupted;

/// The oldest kernel that serves, `(major, minor)`: it brought `CLOSE_RANGE_CLOEXEC`, the newest feature that
/// is needed.
pub const LEAST_KERNEL: (u32, u32) = (5, 11);

/// A system call that cannot be made here.
#[derive(Debug)]
pub struct MissingSyscall {
    call: &'static str,
    source: io::Error,
}

/// Makes each of the calls.
/// Errors: the first call that this kernel does not have, or that a filter denies.
pub fn check_kernel() -> Result<(), MissingSyscall> {
    let needs = |call| move |source| MissingSyscall { call, source };
    let own = open_pidfd(getpid()).map_err(needs("pidfd_open"))?;
    process_is_there(own.as_fd()).map_err(needs("pidfd_send_signal"))?;
    let how =
        OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    uninterrupted(|| openat2(AT_FDCWD, c"/", how)).map_err(needs("openat2"))?;
    close_none().map_err(needs("close_range"))
}

/// Calls close_range(2) for a number that no descriptor can have. Errors: `EINVAL` (the flag is not known,
/// before 5.11).
#[allow(unsafe_code, reason = "nix has no close_range")]
fn close_none() -> io::Result<()> {
    // SAFETY: three integers go in, and no descriptor has this number.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Errno::result(result)?;
    Ok(())
}

impl fmt::Display for MissingSyscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, source } = self;
        let (major, minor) = LEAST_KERNEL;
        let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
        write!(f, "the system call {call}(2) cannot be made: {source}; ")?;
        if version(&release).is_some_and(|version| version < LEAST_KERNEL) {
            return write!(f, "sluice needs Linux {major}.{minor} or later, and this is {release}");
        }
        write!(
            f,
            "this kernel ({release}) has it, so a filter denies it: allow {call} in the container's seccomp "
        )?;
        write!(f, "profile (that of a current Docker or Podman does), or in the unit's SystemCallFilter=")
    }
}

impl std::error::Error for MissingSyscall {}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_what_is_needed() {
        check_kernel().expect("tests run where the broker does");
    }

    #[test]
    fn a_release_begins_with_two_numbers() {
        assert_eq!(version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version("5.4-rc1"), Some((5, 4)));
        assert_eq!(version("odd"), None);
        assert!(version("5.10.0").expect("a version") < LEAST_KERNEL);
    }
}
