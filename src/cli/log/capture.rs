//! `sluice log --output`: the captured bytes of one call.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use crate::audit::ParsedRecord;

use crate::limits::CAPTURE_BLOCK_BYTES;
use crate::trust::trusted_file;

use crate::text::printable;

/// A stream of a call that may be captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CaptureStream {
    Stdin,
    Stdout,
    Stderr,
}

impl CaptureStream {
    /// The file that a record names for the stream.
    pub(super) fn file(self, record: &ParsedRecord) -> Option<&str> {
        let file = match self {
            Self::Stdin => &record.stdin,
            Self::Stdout => &record.stdout,
            Self::Stderr => &record.stderr,
        };
        file.as_deref()
    }

    /// The name of the stream.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stdin => "stdin",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Opens a capture that only its owner can have written: no link is followed to it.
pub(super) fn open(path: &str) -> Result<File, String> {
    trusted_file(Path::new(path)).map_err(|distrust| distrust.to_string())
}

/// Copies a capture to stdout as it is; to a terminal, only printable characters.
pub(super) fn copy(file: File, out: &mut dyn Write) -> io::Result<()> {
    if io::stdout().is_terminal() {
        copy_printable(file, out)
    } else {
        io::copy(&mut { file }, out).map(drop)
    }
}

fn copy_printable(mut from: impl Read, out: &mut dyn Write) -> io::Result<()> {
    let mut block = vec![0; CAPTURE_BLOCK_BYTES];
    let mut filled = 0;
    loop {
        let read = from.read(&mut block[filled..])?;
        filled += read;
        if filled == 0 {
            return Ok(());
        }
        // A character that goes on in the next block is kept for that block.
        let whole = if read == 0 { filled } else { whole_characters(&block[..filled]) };
        out.write_all(shown(&block[..whole]).as_bytes())?;
        block.copy_within(whole..filled, 0);
        filled -= whole;
    }
}

/// The number of bytes up to the last character that is whole.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    let begun = bytes[tail..].iter().rposition(|byte| byte & 0xc0 == 0xc0).map(|at| tail + at);
    begun
        .filter(|&at| std::str::from_utf8(&bytes[at..]).is_err_and(|error| error.error_len().is_none()))
        .unwrap_or(bytes.len())
}

fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for piece in chunk.valid().split_inclusive(['\n', '\t']) {
            let plain = piece.trim_end_matches(['\n', '\t']);
            text.push_str(&printable(plain));
            text.push_str(&piece[plain.len()..]);
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("a string takes every write");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_what_is_printable() {
        let text = "a\tb\n\u{1b}[2J\u{202e}caf\u{e9}".as_bytes();
        let want = "a\tb\n\\u{1b}[2J\\u{202e}caf\u{e9}\\xff";
        let bytes = [text, b"\xff"].concat();
        for size in 1..bytes.len() {
            let mut out = Vec::new();
            copy_printable(Pieces(&bytes, size), &mut out).expect("memory takes every write");
            assert_eq!(String::from_utf8(out).expect("text"), want, "in pieces of {size}");
        }
    }

    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let most = into.len().min(self.1);
            self.0.read(&mut into[..most])
        }
    }
}
