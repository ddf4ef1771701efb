//! The threads that move a caller's bytes through the FIFOs of a lane, because descriptors cannot be passed
//! there: one for each of stdin, stdout and stderr. Used with a FIFO door alone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags};

use crate::limits::PUMP_BYTES;
use crate::sys::{self, Wakeup};

use super::lane::wait_again;

/// The threads of one call.
#[derive(Debug)]
pub(super) struct StreamPumps {
    /// Woken when the command has ended: what it wrote is in the FIFOs by then.
    is_over: Arc<Wakeup>,
    outputs: Vec<JoinHandle<()>>,
}

impl StreamPumps {
    /// Moves bytes from the first of `own` to `stdin`, and from the outputs to the other two.
    pub(super) fn begin(own: [BorrowedFd<'_>; 3], stdin: OwnedFd, outputs: [OwnedFd; 2]) -> io::Result<Self> {
        let [own_stdin, own_stdout, own_stderr] = own.map(|fd| fd.try_clone_to_owned());
        let is_over = Arc::new(Wakeup::new()?);
        let from = own_stdin?;
        wait_again(&stdin)?;
        // Not joined: nobody can end its wait for the caller's input but the end of this process.
        thread::Builder::new().spawn(move || feed(&from, &stdin))?;
        let mut pumps = Self { is_over, outputs: Vec::new() };
        for (fifo, to) in outputs.into_iter().zip([own_stdout?, own_stderr?]) {
            let is_over = pumps.is_over.clone();
            pumps.outputs.push(thread::Builder::new().spawn(move || drain(&fifo, &to, &is_over))?);
        }
        Ok(pumps)
    }

    /// Waits until everything that the command wrote was written here.
    pub(super) fn finish(self) {
        self.is_over.wake();
        // A thread that panicked writes nothing more.
        self.outputs.into_iter().for_each(|output| drop(output.join()));
    }
}

/// Moves bytes until one side ends.
fn feed(from: &OwnedFd, to: &OwnedFd) {
    let mut buffer = vec![0; PUMP_BYTES];
    while let Ok(length) = sys::read(from.as_fd(), &mut buffer) {
        if length == 0 || write_all(to, &buffer[..length]).is_err() {
            return;
        }
    }
}

/// Moves bytes until the FIFO's writers have gone, or the command has ended and nothing is left.
fn drain(fifo: &OwnedFd, to: &OwnedFd, is_over: &Wakeup) {
    let mut buffer = vec![0; PUMP_BYTES];
    loop {
        let mut looked_at = [fifo.as_fd(), is_over.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        if sys::poll_until(&mut looked_at, None).is_err() {
            return;
        }
        // Before the broker has opened its end, nothing is ready: read(2) would show an end.
        let is_ready = looked_at[0].any() == Some(true);
        match if is_ready { sys::read(fifo.as_fd(), &mut buffer) } else { Ok(0) } {
            Ok(length) if length > 0 => {
                if write_all(to, &buffer[..length]).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && looked_at[1].any() != Some(true) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

fn write_all(to: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match sys::write(to.as_fd(), bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sys::poll_until(&mut [PollFd::new(to.as_fd(), PollFlags::POLLOUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
