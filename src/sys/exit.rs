//! The end of this process.

/// Ends this process at once, without running or waiting for anything of it; `_exit(2)`.
#[allow(unsafe_code, reason = "the standard library's exit runs what others have registered")]
pub fn exit_now(code: i32) -> ! {
    // SAFETY: it takes a number, and does not return.
    unsafe { libc::_exit(code) }
}
