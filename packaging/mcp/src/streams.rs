//! The pipes of a command, on this side: what is written to its stdin, and what comes from its stdout and
//! stderr.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio_util::sync::CancellationToken;

use crate::limits::{LEFT_BYTES_MAX, READ_BYTES};
use crate::output::{OutputBuffer, ShownOutput};

/// This side of a command's pipes.
#[derive(Debug)]
pub(crate) struct CallStreams {
    stdin: Option<(Sender, String)>,
    stdout: Receiver,
    stderr: Receiver,
}

impl CallStreams {
    /// The pipes, and the descriptors for the command. Without a text, its stdin is `/dev/null`.
    pub(crate) fn new(stdin: Option<String>) -> io::Result<(Self, [OwnedFd; 3])> {
        let (stdout, far_stdout) = io::pipe()?;
        let (stderr, far_stderr) = io::pipe()?;
        let (stdin, far_stdin) = match stdin {
            Some(text) => {
                let (far, pipe) = io::pipe()?;
                (Some((Sender::from_owned_fd(pipe.into())?, text)), far.into())
            }
            None => (None, File::open("/dev/null")?.into()),
        };
        let receiver = |pipe: io::PipeReader| Receiver::from_owned_fd(pipe.into());
        let streams = Self { stdin, stdout: receiver(stdout)?, stderr: receiver(stderr)? };
        Ok((streams, [far_stdin, far_stdout.into(), far_stderr.into()]))
    }

    /// Moves the bytes until the call is over (`ended`), and what was written before it too. `bytes` counts
    /// what came.
    pub(crate) async fn run(
        mut self,
        bytes: &AtomicUsize,
        ended: &CancellationToken,
    ) -> (ShownOutput, ShownOutput) {
        let (stdout, stderr, ()) = tokio::join!(
            collect(&mut self.stdout, bytes, ended),
            collect(&mut self.stderr, bytes, ended),
            feed(self.stdin, ended),
        );
        (stdout, stderr)
    }
}

/// Writes the text. A command that does not read it gets none of it.
async fn feed(stdin: Option<(Sender, String)>, ended: &CancellationToken) {
    if let Some((mut pipe, text)) = stdin {
        tokio::select! {
            // Its only error is that nobody reads any more.
            written = pipe.write_all(text.as_bytes()) => drop(written),
            () = ended.cancelled() => {}
        }
    }
}

async fn collect(pipe: &mut Receiver, bytes: &AtomicUsize, ended: &CancellationToken) -> ShownOutput {
    let (mut output, mut buffer) = (OutputBuffer::default(), vec![0; READ_BYTES]);
    loop {
        let read = tokio::select! {
            read = pipe.read(&mut buffer) => read,
            () = ended.cancelled() => break,
        };
        // A pipe of this process has no error but the end.
        let Some(length @ 1..) = read.ok() else { return output.finish() };
        bytes.fetch_add(length, Ordering::Relaxed);
        output.push(buffer.get(..length).unwrap_or_default());
    }
    let mut left = LEFT_BYTES_MAX;
    // Past the runtime, which may not know yet that there is something to read.
    while let Ok(length @ 1..) = sluice::sys::read(pipe.as_fd(), &mut buffer) {
        output.push(buffer.get(..length).unwrap_or_default());
        left = left.saturating_sub(length);
        if left == 0 {
            break;
        }
    }
    output.finish()
}
