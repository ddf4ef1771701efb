//! A process that begins in another cgroup: the only unsafe code of the tests of the machine.

use std::ffi::{CString, c_char};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::{mem, ptr};

use nix::libc;

use super::process::Pid;

/// The constant of `libc` is cut to an `int`, which leaves 0.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Starts a program, by its path, as a child of ours that is in the cgroup of this directory from its first
/// instant: clone3(2), Linux 5.7. It has this process's environment and descriptors.
#[allow(unsafe_code, reason = "no crate offers clone3(2) with a cgroup safely")]
pub(crate) fn clone_into(cgroup: &Path, words: &[&str]) -> io::Result<Pid> {
    let cgroup = File::open(cgroup)?;
    let words: Vec<_> = words.iter().map(|&word| CString::new(word).expect("a word has no NUL")).collect();
    let mut argv: Vec<*const c_char> = words.iter().map(|word| word.as_ptr()).collect();
    argv.push(ptr::null());
    // SAFETY: all its fields are numbers.
    let mut args: libc::clone_args = unsafe { mem::zeroed() };
    args.flags = CLONE_INTO_CGROUP;
    args.exit_signal = libc::SIGCHLD.cast_unsigned().into();
    args.cgroup = u64::try_from(cgroup.as_raw_fd()).expect("a descriptor is no negative number");
    // SAFETY: the kernel reads the structure, whose size it is told. Memory is not shared, so the child goes
    // on with a copy of this stack.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, mem::size_of_val(&args)) };
    if pid == 0 {
        // SAFETY: the words end with NUL and their list with a null pointer. Between a fork and exec only
        // calls that are safe in a signal's handler may be made, and these two are.
        unsafe {
            libc::execv(argv[0], argv.as_ptr());
            libc::_exit(127);
        }
    }
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Pid(i32::try_from(pid).expect("a pid")))
}
