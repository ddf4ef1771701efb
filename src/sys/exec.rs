//! Becoming another program, for a process that must not allocate.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::ptr;

use nix::errno::Errno;

use super::syscall;

/// Becomes `program`. The arrays of pointers for the kernel are made in `room`. Returns only an error.
/// `execve(2)`.
/// Errors: `E2BIG` (too much for the kernel, or for the room), `ENOENT`, `EACCES`, `ENOEXEC` and more.
#[allow(unsafe_code, reason = "nix's execve allocates, and reads errno")]
pub fn execute<'a>(
    program: &CStr,
    argv: impl Iterator<Item = &'a CStr>,
    environment: impl Iterator<Item = &'a CStr>,
    room: &mut [u8],
) -> Errno {
    // SAFETY: every bit pattern is a valid `MaybeUninit`.
    let (_, mut places, _) = unsafe { room.align_to_mut::<MaybeUninit<*const c_char>>() };
    let Some(argv) = list(argv, &mut places) else { return Errno::E2BIG };
    let Some(environment) = list(environment, &mut places) else { return Errno::E2BIG };
    let arguments =
        [program.as_ptr().expose_provenance(), argv.expose_provenance(), environment.expose_provenance()];
    // SAFETY: both lists are of C strings that outlive the call, and end with a null pointer.
    unsafe { syscall::call(libc::SYS_execve, arguments) }.err().unwrap_or(Errno::UnknownErrno)
}

/// Makes an array of pointers, ended by a null pointer, in the first of `places`; `places` is then the rest.
/// `None` when there are too few.
fn list<'a>(
    texts: impl Iterator<Item = &'a CStr>,
    places: &mut &mut [MaybeUninit<*const c_char>],
) -> Option<*const *const c_char> {
    let start = places.as_ptr().cast();
    for text in texts.map(CStr::as_ptr).chain([ptr::null()]) {
        let (place, rest) = std::mem::take(places).split_first_mut()?;
        place.write(text);
        *places = rest;
    }
    Some(start)
}

/// Enters a directory. `chdir(2)`. Errors: `ENOENT`, `EACCES`, `ENOTDIR`.
#[allow(unsafe_code, reason = "nix's chdir reads errno")]
pub fn enter_directory(path: &CStr) -> nix::Result<()> {
    // SAFETY: the path is a C string that outlives the call.
    unsafe { syscall::call(libc::SYS_chdir, [path.as_ptr().expose_provenance(), 0, 0]) }.map(drop)
}
