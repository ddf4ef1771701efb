//! What the manifest asks of its file, beside what the standard library does without being interrupted.

use std::io;
use std::os::fd::BorrowedFd;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd;

use super::uninterrupted;

/// One write(2): how many of the bytes the file took.
pub fn write(file: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    uninterrupted(|| unistd::write(file, bytes))
}

/// Takes blocks for `bytes` from `from` on, which may lie past the file's end; its size stays (`FALLOC_FL_KEEP_SIZE`).
/// `EOPNOTSUPP` where the file system cannot.
pub fn allocate(file: BorrowedFd<'_>, from: i64, bytes: i64) -> io::Result<()> {
    uninterrupted(|| fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, from, bytes))
}
