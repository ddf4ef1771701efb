//! Descriptors that are known by their numbers: those that the process was started with, and those that
//! others have.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

use nix::errno::Errno;
use nix::libc;

/// Takes ownership of an inherited descriptor, once: a second call for the same number gives `None`.
///
/// The number must come from a protocol that hands it over (`LISTEN_FDS`, `SLUICE_FD`), and be open.
#[allow(unsafe_code, reason = "the descriptor exists by protocol, not by type")]
pub fn adopt_descriptor(number: RawFd) -> Option<OwnedFd> {
    static ADOPTED: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());
    let mut adopted = ADOPTED.lock().ok()?;
    if number <= 2 || adopted.contains(&number) {
        return None;
    }
    adopted.push(number);
    // SAFETY: the activation protocol gave this process the descriptor, and the list above hands it out once.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Takes ownership of an inherited descriptor that the environment or an argument names, once. It has to be
/// called before this process opens descriptors of its own: their numbers could be meant by mistake.
/// Errors: `EBADF` (none of this number is open, or it was taken already, or it is one of the first three).
#[allow(unsafe_code, reason = "whether a number is open can only be asked by the number")]
pub fn adopt_open(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: a number goes in, and nothing is changed.
    Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    adopt_descriptor(number).ok_or_else(|| Errno::EBADF.into())
}

/// A copy of a descriptor that is known by its number alone, and stays with whoever has it. Errors: `EBADF`
/// (none of this number is open), `EMFILE`.
#[allow(unsafe_code, reason = "the descriptor is another owner's, such as a JavaScript program")]
pub fn copy_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: a number goes in, and nothing is changed but that there is one descriptor more.
    let copy = Errno::result(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the kernel made it just now, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_copy_is_another_descriptor_of_the_same_file_and_ends_at_exec() {
        let (own, _far) = super::super::pipe(4096).expect("a pipe");
        let copy = copy_descriptor(own.as_raw_fd()).expect("it is open");
        assert_ne!(copy.as_raw_fd(), own.as_raw_fd());
        let place = |fd: &OwnedFd| {
            std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("it is open")
        };
        assert_eq!(place(&copy), place(&own));
        let flags = nix::fcntl::fcntl(&copy, nix::fcntl::FcntlArg::F_GETFD).expect("it is open");
        assert_eq!(flags, nix::fcntl::FdFlag::FD_CLOEXEC.bits());
        assert_eq!(copy_descriptor(-1).expect_err("none").raw_os_error(), Some(Errno::EBADF as i32));
    }
}
