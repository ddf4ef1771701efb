//! Changes what this process sees of the file system, in a process that may live in another's memory
//! (`clone_vm.rs`): nothing here allocates, can panic, or touches `errno`. Places are opened without
//! following a link, and every later step is by descriptor, so that nobody can turn a name in between.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::ffi::CStr;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;

use super::in_child::ChildFd;
use super::syscall;

/// `struct open_how` of `openat2(2)`.
#[repr(C)]
pub(super) struct OpenHow {
    pub(super) flags: u64,
    pub(super) mode: u64,
    pub(super) resolve: u64,
}

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
struct MountChange {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Changes of a mount's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountFlags {
    /// `MOUNT_ATTR_` flags that are set.
    pub set: u64,
    /// Those that are cleared.
    pub clear: u64,
}

impl MountFlags {
    /// Nothing can be written.
    pub const READ_ONLY: Self = Self { set: libc::MOUNT_ATTR_RDONLY, clear: 0 };
    /// Files can be written and executed.
    pub const WRITABLE: Self = Self { set: 0, clear: libc::MOUNT_ATTR_RDONLY };
    /// Files can be written and executed, although those around them cannot be executed.
    pub const EXECUTABLE: Self = Self { set: 0, clear: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC };
    /// As before.
    pub const SAME: Self = Self { set: 0, clear: 0 };
    /// Files can be written, and not executed.
    pub const DATA: Self = Self { set: libc::MOUNT_ATTR_NOEXEC, clear: libc::MOUNT_ATTR_RDONLY };
}

const HERE: usize = (libc::AT_FDCWD as isize).cast_unsigned();

fn number(fd: BorrowedFd<'_>) -> usize {
    fd.as_raw_fd().cast_unsigned() as usize
}

fn address(text: &CStr) -> usize {
    text.as_ptr().expose_provenance()
}

#[allow(unsafe_code, reason = "a number is made a descriptor")]
fn owned(opened: usize) -> nix::Result<ChildFd> {
    let number = RawFd::try_from(opened).map_err(|_| Errno::EBADF)?;
    // SAFETY: a system call has just made it, and nothing else owns it.
    Ok(unsafe { ChildFd::from_raw(number) })
}

/// Joins a user namespace, in which this process has every capability. `setns(2)`. Errors: `EPERM`, `EINVAL`
/// (it is in that namespace already).
#[allow(unsafe_code, reason = "nix's setns sets errno")]
pub fn join_user_namespace(namespace: BorrowedFd<'_>) -> nix::Result<()> {
    let kind = libc::CLONE_NEWUSER.cast_unsigned() as usize;
    // SAFETY: two numbers go in.
    unsafe { syscall::call(libc::SYS_setns, [number(namespace), kind]) }.map(drop)
}

/// Gives this process a copy of all mounts, which changes outside no longer reach, and none of the shared
/// memory, semaphores and message queues that have a number or a name. `unshare(2)`, `mount(2)`.
/// Errors: `EPERM`, `ENOSPC` (too many namespaces, or mounts).
#[allow(unsafe_code, reason = "nix's functions set errno")]
pub fn own_mounts() -> nix::Result<()> {
    let kinds = (libc::CLONE_NEWNS | libc::CLONE_NEWIPC).cast_unsigned() as usize;
    // SAFETY: a number goes in; this process has descriptors and a directory of its own, without CLONE_FS.
    unsafe { syscall::call(libc::SYS_unshare, [kinds]) }?;
    let flags = usize::try_from(libc::MS_REC | libc::MS_PRIVATE).map_err(|_| Errno::EINVAL)?;
    // SAFETY: no source, no type and no data; the path is a C string.
    unsafe { syscall::call(libc::SYS_mount, [0, address(c"/"), 0, flags, 0]) }.map(drop)
}

/// Opens a place without following a link (`O_PATH`). `openat2(2)`. Errors: `ELOOP` (a link), `ENOENT`.
#[allow(unsafe_code, reason = "nix's openat2 sets errno")]
pub fn open_unlinked(path: &CStr) -> nix::Result<ChildFd> {
    let flags = (libc::O_PATH | libc::O_CLOEXEC).cast_unsigned();
    let how = OpenHow { flags: flags.into(), mode: 0, resolve: libc::RESOLVE_NO_SYMLINKS };
    let arguments = [HERE, address(path), (&raw const how).expose_provenance(), size_of::<OpenHow>()];
    // SAFETY: the path is a C string and `how` a whole structure; both outlive the call.
    owned(unsafe { syscall::call(libc::SYS_openat2, arguments) }?)
}

/// A copy of the mounts at and below an open place, which is nowhere yet. `open_tree(2)`.
#[allow(unsafe_code, reason = "no crate offers open_tree")]
pub fn copy_tree(place: BorrowedFd<'_>) -> nix::Result<ChildFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    let flags = flags | (libc::AT_EMPTY_PATH | libc::AT_RECURSIVE).cast_unsigned();
    // SAFETY: the path is an empty C string.
    owned(unsafe { syscall::call(libc::SYS_open_tree, [number(place), address(c""), flags as usize]) }?)
}

/// Changes the flags of all mounts of a copy. `mount_setattr(2)`, Linux 5.12. Errors: `EPERM` (a flag that
/// the mounts had before this process had mounts of its own, and that it may not clear).
pub fn change_tree(tree: BorrowedFd<'_>, flags: MountFlags) -> nix::Result<()> {
    set_flags(number(tree), c"", libc::AT_EMPTY_PATH, flags)
}

/// Makes everything that this process sees read-only.
pub fn make_all_read_only() -> nix::Result<()> {
    set_flags(HERE, c"/", 0, MountFlags::READ_ONLY)
}

#[allow(unsafe_code, reason = "no crate offers mount_setattr")]
fn set_flags(at: usize, path: &CStr, how: libc::c_int, flags: MountFlags) -> nix::Result<()> {
    let change = MountChange { set: flags.set, clear: flags.clear, propagation: 0, user_namespace: 0 };
    let how = (how | libc::AT_RECURSIVE).cast_unsigned() as usize;
    let change = (&raw const change).expose_provenance();
    // SAFETY: the path is a C string and the change a whole structure; both outlive the call.
    unsafe {
        syscall::call(libc::SYS_mount_setattr, [at, address(path), how, change, size_of::<MountChange>()])
    }
    .map(drop)
}

/// Puts a copy of mounts, or a new mount, over an open place. `move_mount(2)`. Errors: `ENOTDIR` (one is a
/// directory and the other is none).
#[allow(unsafe_code, reason = "no crate offers move_mount")]
pub fn place_tree(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> nix::Result<()> {
    let flags = (libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH) as usize;
    let empty = address(c"");
    // SAFETY: both paths are empty C strings.
    unsafe { syscall::call(libc::SYS_move_mount, [number(tree), empty, number(place), empty, flags]) }
        .map(drop)
}

/// A new file system in memory that is nowhere yet, whose top directory has these options of `tmpfs(5)`, each
/// a key and a value. `fsopen(2)`, `fsconfig(2)`, `fsmount(2)`.
#[allow(unsafe_code, reason = "no crate offers fsopen")]
pub fn new_tmpfs(options: &[(&CStr, &CStr)], flags: u64) -> nix::Result<ChildFd> {
    const CLOSE_ON_EXEC: usize = 1;
    const SET_STRING: usize = 1;
    const CREATE: usize = 6;
    // SAFETY: the name is a C string.
    let context = owned(unsafe { syscall::call(libc::SYS_fsopen, [address(c"tmpfs"), CLOSE_ON_EXEC]) }?)?;
    let context = context.as_fd();
    for (key, value) in options {
        let set = [number(context), SET_STRING, address(key), address(value), 0];
        // SAFETY: key and value are C strings that outlive the call.
        unsafe { syscall::call(libc::SYS_fsconfig, set) }?;
    }
    // SAFETY: this command takes neither key nor value.
    unsafe { syscall::call(libc::SYS_fsconfig, [number(context), CREATE, 0, 0, 0]) }?;
    let flags = usize::try_from(flags).map_err(|_| Errno::EINVAL)?;
    // SAFETY: numbers go in.
    owned(unsafe { syscall::call(libc::SYS_fsmount, [number(context), CLOSE_ON_EXEC, flags]) }?)
}

/// Makes a directory for everybody to read. `mkdir(2)`; one that is there already is no error.
#[allow(unsafe_code, reason = "nix's mkdir sets errno")]
pub fn make_directory(path: &CStr) -> nix::Result<()> {
    // SAFETY: the path is a C string.
    match unsafe { syscall::call(libc::SYS_mkdirat, [HERE, address(path), 0o755]) } {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Makes an empty file, as a place for a mount. `mknodat(2)`; one that is there already is no error.
#[allow(unsafe_code, reason = "nix's mknod sets errno")]
pub fn make_file(path: &CStr) -> nix::Result<()> {
    let mode = (libc::S_IFREG | 0o444) as usize;
    // SAFETY: the path is a C string.
    match unsafe { syscall::call(libc::SYS_mknodat, [HERE, address(path), mode, 0]) } {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether an open place is a directory. `statx(2)` tells the same as `fstat(2)`, which a seccomp filter may
/// not know.
#[allow(unsafe_code, reason = "nix's fstat sets errno")]
pub fn is_directory(place: BorrowedFd<'_>) -> nix::Result<bool> {
    // SAFETY: all zeroes is a statx.
    let mut seen: libc::statx = unsafe { std::mem::zeroed() };
    let (how, want) = (libc::AT_EMPTY_PATH.cast_unsigned() as usize, libc::STATX_TYPE as usize);
    let arguments = [number(place), address(c""), how, want, (&raw mut seen).expose_provenance()];
    // SAFETY: the path is an empty C string, and the structure outlives the call.
    unsafe { syscall::call(libc::SYS_statx, arguments) }?;
    Ok(u32::from(seen.stx_mode) & libc::S_IFMT == libc::S_IFDIR)
}
