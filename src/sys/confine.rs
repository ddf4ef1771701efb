//! Restricts this process for good, in a process that may live in another's memory (`clone_vm.rs`): nothing
//! here allocates, can panic, or touches `errno`. What is set here lasts over exec and in every child.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::syscall;

/// `LANDLOCK_RULE_PATH_BENEATH` of `landlock_add_rule(2)`.
const PATH_BENEATH: usize = 1;

/// Bytes of an instruction of a system call filter, `struct sock_filter`.
pub const FILTER_INSTRUCTION_BYTES: usize = 8;

/// Flags of `PR_SET_SECUREBITS`, `capabilities(7)`: `NOROOT`, `NO_SETUID_FIXUP` and `NO_CAP_AMBIENT_RAISE`,
/// each with its lock, and the lock of `KEEP_CAPS`.
const ROOT_IS_NOBODY: usize = 0b1110_1111;

/// `struct landlock_path_beneath_attr` of `landlock_add_rule(2)`, which is packed.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    place: i32,
}

/// `struct sock_fprog` of `seccomp(2)`.
#[repr(C)]
struct FilterProgram {
    instructions: u16,
    start: *const u8,
}

fn number(fd: BorrowedFd<'_>) -> usize {
    fd.as_raw_fd().cast_unsigned() as usize
}

/// Has no exec give this process rights that it lacks: setuid and file capabilities count no more.
/// `prctl(2)`, `PR_SET_NO_NEW_PRIVS`.
#[allow(unsafe_code, reason = "nix's prctl sets errno")]
pub fn forgo_new_privileges() -> nix::Result<()> {
    let arguments = [libc::PR_SET_NO_NEW_PRIVS.cast_unsigned() as usize, 1, 0, 0, 0];
    // SAFETY: numbers go in.
    unsafe { syscall::call(libc::SYS_prctl, arguments) }.map(drop)
}

/// Adds to a Landlock ruleset what is allowed at and below a place. `landlock_add_rule(2)`.
#[allow(unsafe_code, reason = "the crate `landlock` allocates, and reads errno")]
pub fn allow_beneath(ruleset: BorrowedFd<'_>, place: BorrowedFd<'_>, allowed: u64) -> nix::Result<()> {
    let rule = PathBeneath { allowed, place: place.as_raw_fd() };
    let arguments = [number(ruleset), PATH_BENEATH, (&raw const rule).expose_provenance(), 0];
    // SAFETY: the rule is whole, and outlives the call.
    unsafe { syscall::call(libc::SYS_landlock_add_rule, arguments) }.map(drop)
}

/// Enforces a Landlock ruleset on this process. `landlock_restrict_self(2)`. Errors: `E2BIG` (too many
/// rulesets already), `EPERM` (without [`forgo_new_privileges`]), `EINVAL` (flags that the kernel lacks).
#[allow(unsafe_code, reason = "the crate `landlock` allocates, and reads errno")]
pub fn restrict(ruleset: BorrowedFd<'_>, flags: u32) -> nix::Result<()> {
    // SAFETY: two numbers go in.
    unsafe { syscall::call(libc::SYS_landlock_restrict_self, [number(ruleset), flags as usize]) }.map(drop)
}

/// Installs a system call filter: instructions of `struct sock_filter`. `seccomp(2)`. Errors: `EINVAL` (no
/// program that the kernel takes), `ENOMEM`, `EACCES` (without [`forgo_new_privileges`]).
#[allow(unsafe_code, reason = "no crate installs a filter without errno")]
pub fn filter_syscalls(program: &[u8]) -> nix::Result<()> {
    let count = program.len() / FILTER_INSTRUCTION_BYTES;
    let instructions = u16::try_from(count).map_err(|_| Errno::EINVAL)?;
    let program = FilterProgram { instructions, start: program.as_ptr() };
    program.start.expose_provenance();
    let mode = libc::SECCOMP_SET_MODE_FILTER as usize;
    // SAFETY: so many instructions are there, and they and the description outlive the call.
    unsafe { syscall::call(libc::SYS_seccomp, [mode, 0, (&raw const program).expose_provenance()]) }.map(drop)
}

/// Sets both limits of a resource, by its number for `setrlimit(2)`. `prlimit(2)`. Errors: `EPERM` (above the
/// hard limit that this process has).
#[allow(unsafe_code, reason = "nix's setrlimit sets errno")]
pub fn limit(resource: u32, most: u64) -> nix::Result<()> {
    let limit = [most; 2];
    let arguments = [0, resource as usize, limit.as_ptr().expose_provenance(), 0];
    // SAFETY: the kernel reads two limits of 64 bits, which outlive the call.
    unsafe { syscall::call(libc::SYS_prlimit64, arguments) }.map(drop)
}

/// Gives up all capabilities, and those that an exec as root would give: with `SECBIT_NOROOT` root's number
/// gives none. `prctl(2)`, `PR_SET_SECUREBITS`, one call instead of one for each capability of the bounding
/// set; `capset(2)`.
#[allow(unsafe_code, reason = "the crate `caps` allocates, and reads errno")]
pub fn forgo_capabilities() -> nix::Result<()> {
    let arguments = [libc::PR_SET_SECUREBITS.cast_unsigned() as usize, ROOT_IS_NOBODY, 0, 0, 0];
    // SAFETY: numbers go in.
    match unsafe { syscall::call(libc::SYS_prctl, arguments) } {
        // Without CAP_SETPCAP there are no capabilities to lose, and no_new_privs keeps it so.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let none = [0_u32; 6];
    let arguments = [header.as_ptr().expose_provenance(), none.as_ptr().expose_provenance()];
    // SAFETY: a header of two words, of which 0 is this process, and two sets of three words.
    unsafe { syscall::call(libc::SYS_capset, arguments) }.map(drop)
}

/// The unix sockets that differ in what a command can reach by one that it is handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandedSocket {
    /// It can be connected to a path, or can send to one whatever it is connected to.
    ReachesPaths,
    /// It is connected for good.
    Connected,
}

/// The kind of a unix socket, by the number of its descriptor; `None` for everything else, a number without a
/// descriptor too. `getsockopt(2)`, `getpeername(2)`.
#[allow(unsafe_code, reason = "nix's getsockopt sets errno")]
pub fn handed_socket(number: u32) -> nix::Result<Option<HandedSocket>> {
    let option = |name: libc::c_int| {
        let (mut value, mut length) = (0_i32, size_of::<i32>());
        let place = [&raw mut value as usize, &raw mut length as usize];
        let [level, name] = [libc::SOL_SOCKET, name].map(|number| number.cast_unsigned() as usize);
        let arguments = [number as usize, level, name, place[0], place[1]];
        // SAFETY: the kernel writes at most four bytes of the value, and its length; both outlive the call.
        unsafe { syscall::call(libc::SYS_getsockopt, arguments) }.map(|_| value)
    };
    match option(libc::SO_DOMAIN) {
        Ok(libc::AF_UNIX) => {}
        Ok(_) | Err(Errno::ENOTSOCK | Errno::EBADF) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    if option(libc::SO_TYPE)? == libc::SOCK_DGRAM {
        return Ok(Some(HandedSocket::ReachesPaths));
    }
    let (mut address, mut length) = ([0_u8; 128], 128_u32);
    let arguments = [number as usize, address.as_mut_ptr().expose_provenance(), &raw mut length as usize];
    // SAFETY: the kernel writes at most as many bytes as the length says, and the length.
    match unsafe { syscall::call(libc::SYS_getpeername, arguments) } {
        Ok(_) => Ok(Some(HandedSocket::Connected)),
        Err(Errno::ENOTCONN | Errno::EINVAL) => Ok(Some(HandedSocket::ReachesPaths)),
        Err(errno) => Err(errno),
    }
}

/// The version of Landlock that the kernel has. `landlock_create_ruleset(2)`. Errors: `ENOSYS`, `EOPNOTSUPP`
/// (it is switched off).
#[allow(unsafe_code, reason = "the crate `landlock` keeps the version to itself")]
pub fn landlock_abi() -> nix::Result<u32> {
    const VERSION: usize = 1;
    // SAFETY: without a structure, its length is 0.
    let abi = unsafe { syscall::call(libc::SYS_landlock_create_ruleset, [0, 0, VERSION]) }?;
    u32::try_from(abi).map_err(|_| Errno::EOVERFLOW)
}

/// Whether the kernel has system call filters that give an errno. `seccomp(2)`. Errors: `ENOSYS`, `EINVAL`,
/// `EOPNOTSUPP`.
#[allow(unsafe_code, reason = "no crate asks seccomp for its actions")]
pub fn filters_are_there() -> nix::Result<()> {
    let mode = libc::SECCOMP_GET_ACTION_AVAIL as usize;
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads a word, which outlives the call.
    unsafe { syscall::call(libc::SYS_seccomp, [mode, 0, (&raw const action).expose_provenance()]) }.map(drop)
}
