//! Splits large blocks of a file into lines, fast.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use memchr::{memchr, memchr_iter, memrchr};

use crate::limits::LOG_BLOCK_BYTES;

/// Hands each whole line of `bytes` to `take`, with its offset, and gives the offset behind the last
/// newline. The bytes behind that are not a line yet; a line longer than a block is left out, because no
/// broker writes one.
pub(super) fn each_line(
    mut bytes: impl Read,
    mut at: u64,
    mut take: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let mut block = vec![0; LOG_BLOCK_BYTES];
    let (mut filled, mut skipping) = (0, false);
    loop {
        let read = bytes.read(&mut block[filled..])?;
        if read == 0 {
            return Ok(at);
        }
        filled += read;
        let mut begin = 0;
        if skipping && let Some(end) = memchr(b'\n', &block[..filled]) {
            (begin, skipping) = (end + 1, false);
        }
        if !skipping {
            let lines = split(&block[begin..filled], at + begin as u64, &mut take)?;
            begin += lines;
        }
        if begin == 0 && filled == block.len() {
            (begin, skipping) = (filled, true);
        }
        block.copy_within(begin..filled, 0);
        filled -= begin;
        at += begin as u64;
    }
}

/// Hands each whole line of a block in memory to `take`, as [`each_line`] does; gives how many bytes these
/// lines have.
pub(super) fn split(
    block: &[u8],
    at: u64,
    take: &mut impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<usize> {
    let mut begin = 0;
    for end in memchr_iter(b'\n', block) {
        take(at + begin as u64, &block[begin..end])?;
        begin = end + 1;
    }
    Ok(begin)
}

/// The whole lines of a file, block by block from its end.
pub(super) struct BackwardLines<'a> {
    file: &'a File,
    end: u64,
    block: Vec<u8>,
}

impl<'a> BackwardLines<'a> {
    /// The lines of this file, as long as it is now.
    pub(super) fn new(file: &'a File) -> io::Result<Self> {
        Ok(Self { file, end: file.metadata()?.len(), block: vec![0; LOG_BLOCK_BYTES] })
    }

    /// The lines of the last block that was not read yet, and their offset.
    pub(super) fn next_lines(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        while self.end > 0 {
            let size = usize::try_from(self.end).unwrap_or(usize::MAX).min(self.block.len());
            let at = self.end - size as u64;
            self.file.read_exact_at(&mut self.block[..size], at)?;
            self.end = at;
            let Some((first, last)) = bounds(&self.block[..size]) else { continue };
            // A block may begin within a line; the whole line then belongs to the block before it in the
            // file, read next.
            let first = if at == 0 { 0 } else { first };
            if first < last {
                self.end = if at == 0 { 0 } else { at + first as u64 };
                return Ok(Some((at + first as u64, &self.block[first..last])));
            }
        }
        Ok(None)
    }
}

/// The offset behind the first newline of a block, and the offset behind its last newline.
fn bounds(block: &[u8]) -> Option<(usize, usize)> {
    Some((memchr(b'\n', block)? + 1, memrchr(b'\n', block)? + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_in_whatever_pieces_they_come() {
        let long = vec![b'x'; LOG_BLOCK_BYTES + 10];
        let mut text = Vec::new();
        for line in [&b"one"[..], b"", &vec![b'y'; LOG_BLOCK_BYTES - 9], &long, b"last"] {
            text.extend(line);
            text.push(b'\n');
        }
        text.extend(b"unfinished");
        for piece in [1 << 16, usize::MAX] {
            let mut found = Vec::new();
            let end = each_line(Pieces(&text, piece), 0, |at, line| {
                let at = usize::try_from(at).expect("small");
                assert_eq!(&text[at..at + line.len()], line);
                found.push(line.len());
                Ok(())
            });
            assert_eq!(end.expect("no I/O here"), (text.len() - 10) as u64);
            assert_eq!(found, [3, 0, LOG_BLOCK_BYTES - 9, 4], "the endless one is left out");
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
