//! The width of a terminal.

use std::os::fd::{AsFd, AsRawFd};

use nix::libc;

/// The columns of the terminal behind a descriptor; `None` where there is no terminal, or its width is not
/// known. `TIOCGWINSZ`, ioctl_tty(2).
#[allow(unsafe_code, reason = "nix has no TIOCGWINSZ")]
pub fn columns(terminal: &impl AsFd) -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open for the time of the call, and the kernel writes one `winsize`.
    let result = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}
