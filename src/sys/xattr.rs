//! Reads extended attributes.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// Whether an extended attribute of an open file has exactly this value. `fgetxattr(2)`. `false` for an
/// attribute that is missing, or that only root may see (`trusted.`).
#[allow(unsafe_code, reason = "nix has no extended attributes")]
pub fn attribute_is(file: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> io::Result<bool> {
    let mut found = vec![0_u8; value.len()];
    // SAFETY: `name` ends in a NUL; the kernel writes at most the length of `found` into it.
    let length =
        unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), found.as_mut_ptr().cast(), found.len()) };
    match Errno::result(length) {
        Ok(length) => Ok(length.cast_unsigned() == value.len() && found == value),
        Err(Errno::ENODATA | Errno::ERANGE | Errno::ENOTSUP | Errno::EPERM | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_file_without_the_attribute_has_no_value_of_it() {
        let file = File::open("/proc/self/status").expect("procfs is mounted");
        assert!(!attribute_is(file.as_fd(), c"user.delegate", b"1").expect("an answer"));
    }
}
