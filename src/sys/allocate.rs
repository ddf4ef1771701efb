//! Allocates room on disk for a file that grows.

use std::io;
use std::os::fd::BorrowedFd;

use nix::fcntl::{FallocateFlags, fallocate};

use super::retry::uninterrupted;

/// Allocates blocks for `bytes` from `from` on, also past the file's end; the file's size stays
/// (`FALLOC_FL_KEEP_SIZE`). Errors: `EOPNOTSUPP` (the file system cannot).
pub fn allocate(file: BorrowedFd<'_>, from: i64, bytes: i64) -> io::Result<()> {
    uninterrupted(|| fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, from, bytes))
}
