//! System calls that nix has no safe function for, and that a command may try in order to get out of its
//! confinement. `sluice selftest` makes them, to see which ones fail. None of them changes this process's
//! memory.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// A call with numbers for arguments: where the kernel wants an address, it gets none.
#[derive(Clone, Copy, Debug)]
pub enum KernelProbe {
    /// `io_uring_setup(2)`
    IoUring,
    /// `bpf(2)`: makes a map.
    Bpf,
    /// `keyctl(2)`: the number of the session's keyring.
    SessionKeys,
    /// `add_key(2)`
    AddKey,
    /// `userfaultfd(2)`
    PageFaults,
    /// `perf_event_open(2)`
    PerfEvents,
    /// `open_by_handle_at(2)`
    FileHandle,
    /// `personality(2)`: no random addresses.
    Personality,
    /// `ptrace(2)`: attaches to a process, without stopping it.
    Trace(Pid),
    /// `getpid` by its number in x32.
    X32,
}

impl KernelProbe {
    fn words(self) -> (libc::c_long, [libc::c_long; 5]) {
        const SESSION_KEYRING: libc::c_long = -3;
        const ADDR_NO_RANDOMIZE: libc::c_long = 0x4_0000;
        const PTRACE_SEIZE: libc::c_long = 0x4206;
        const X32_GETPID: libc::c_long = 0x4000_0000 + 39;
        match self {
            Self::IoUring => (libc::SYS_io_uring_setup, [1, 0, 0, 0, 0]),
            Self::Bpf => (libc::SYS_bpf, [0, 0, 0, 0, 0]),
            Self::SessionKeys => (libc::SYS_keyctl, [0, SESSION_KEYRING, 0, 0, 0]),
            Self::AddKey => (libc::SYS_add_key, [0, 0, 0, 0, SESSION_KEYRING]),
            Self::PageFaults => (libc::SYS_userfaultfd, [1, 0, 0, 0, 0]),
            Self::PerfEvents => (libc::SYS_perf_event_open, [0, 0, -1, -1, 0]),
            Self::FileHandle => (libc::SYS_open_by_handle_at, [0, 0, 0, 0, 0]),
            Self::Personality => (libc::SYS_personality, [ADDR_NO_RANDOMIZE, 0, 0, 0, 0]),
            Self::Trace(pid) => (libc::SYS_ptrace, [PTRACE_SEIZE, pid.as_raw().into(), 0, 0, 0]),
            Self::X32 => (X32_GETPID, [0; 5]),
        }
    }
}

/// Makes such a call. `Ok` means that the kernel would have done it: it did, or it missed an address or found
/// an argument wrong. A descriptor that it gave stays open.
#[allow(unsafe_code, reason = "no crate offers these calls safely")]
pub fn probe_kernel(probe: KernelProbe) -> nix::Result<()> {
    let (number, [first, second, third, fourth, fifth]) = probe.words();
    // SAFETY: all arguments are numbers; the addresses among them are null, so the kernel reads and writes no
    // memory of this process.
    let result = unsafe { libc::syscall(number, first, second, third, fourth, fifth) };
    match Errno::result(result) {
        Ok(_) | Err(Errno::EFAULT | Errno::EINVAL) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Sends a signal with a value. `sigqueue(3)`. Errors: `EPERM`, `ESRCH`.
#[allow(unsafe_code, reason = "nix has no sigqueue")]
pub fn queue_signal(pid: Pid, signal: Signal) -> nix::Result<()> {
    let value = libc::sigval { sival_ptr: std::ptr::null_mut() };
    // SAFETY: numbers go in.
    Errno::result(unsafe { libc::sigqueue(pid.as_raw(), signal as libc::c_int, value) }).map(drop)
}

/// Sets the limit of another process's core files to nothing. `prlimit(2)`. Errors: `EPERM`, `ESRCH`.
#[allow(unsafe_code, reason = "nix's setrlimit is of this process")]
pub fn limit_process(pid: Pid) -> nix::Result<()> {
    let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel reads the limit, which outlives the call.
    let result =
        unsafe { libc::prlimit(pid.as_raw(), libc::RLIMIT_CORE, &raw const limit, std::ptr::null_mut()) };
    Errno::result(result).map(drop)
}

/// Sets an extended attribute of a file. `setxattr(2)`. Errors: `EOPNOTSUPP` (its file system has none).
#[allow(unsafe_code, reason = "nix has no extended attributes")]
pub fn set_attribute(path: &CStr, name: &CStr, value: &[u8]) -> nix::Result<()> {
    // SAFETY: both strings end in a NUL; the kernel reads as much of the value as is said.
    let result =
        unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result).map(drop)
}

/// Sets the flags of an open file, and gives those that it had. `ioctl_iflags(2)`. Errors: `ENOTTY`,
/// `EOPNOTSUPP` (its file system has none).
#[allow(unsafe_code, reason = "nix's ioctl functions are unsafe")]
pub fn change_flags(file: BorrowedFd<'_>, change: impl FnOnce(u32) -> u32) -> nix::Result<()> {
    let mut flags: u32 = 0;
    // SAFETY: the kernel writes 32 bits, whatever the number of the ioctl says.
    Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) })?;
    let flags = change(flags);
    // SAFETY: the kernel reads 32 bits, whatever the number of the ioctl says.
    Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags) }).map(drop)
}

/// Types a character into a terminal. `ioctl_tty(2)`, `TIOCSTI`. Errors: `EPERM`, `EIO` (the kernel lets
/// nobody).
#[allow(unsafe_code, reason = "nix's ioctl functions are unsafe")]
pub fn type_into(terminal: BorrowedFd<'_>) -> nix::Result<()> {
    let character = b'x';
    // SAFETY: the kernel reads one byte.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSTI, &raw const character) }).map(drop)
}

/// Makes a terminal this session's own. `ioctl_tty(2)`, `TIOCSCTTY`. Errors: `EPERM`.
#[allow(unsafe_code, reason = "nix's ioctl functions are unsafe")]
pub fn control_by(terminal: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: a number goes in.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// Whether exec can give this process rights that it lacks. `prctl(2)`, `PR_GET_NO_NEW_PRIVS`.
#[allow(unsafe_code, reason = "a feature of nix for one call")]
pub fn can_gain_privileges() -> bool {
    // SAFETY: numbers go in.
    unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0 }
}

/// A stream socket of multipath TCP. `socket(2)`. Errors: `EPROTONOSUPPORT` (the kernel has none).
#[allow(unsafe_code, reason = "nix's protocols are a list without it")]
pub fn multipath_socket() -> nix::Result<OwnedFd> {
    // SAFETY: numbers go in.
    let number = Errno::result(unsafe {
        libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, libc::IPPROTO_MPTCP)
    })?;
    // SAFETY: the call succeeded, so this is a new descriptor that no other value owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
