//! Splits bytes into lines, one at a time, in bounded memory, however long a line is.

use std::io::{self, BufRead, BufReader, Read};

use crate::limits::{RECORD_LINE_BYTES_MAX, SCAN_BUFFER_BYTES};

/// A line, or a piece of one that is longer than any record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestLine<'a> {
    /// Its number in the file, from 1.
    pub number: u64,
    /// Bytes of the file before it.
    pub at: u64,
    /// Its bytes, without the newline.
    pub bytes: &'a [u8],
    /// Whether it continues the line of the piece before it.
    pub continues: bool,
    /// Whether its newline is there.
    pub ended: bool,
}

/// The lines of a manifest.
#[derive(Debug)]
pub struct ManifestLines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    number: u64,
    at: u64,
    ended: bool,
}

impl<R: Read> ManifestLines<R> {
    /// The lines of these bytes.
    pub fn new(bytes: R) -> Self {
        Self::from(bytes, 0)
    }

    /// The lines of these bytes of a file, of which `at` bytes come before.
    pub(in crate::audit) fn from(bytes: R, at: u64) -> Self {
        let reader = BufReader::with_capacity(SCAN_BUFFER_BYTES, bytes);
        Self { reader, line: Vec::new(), number: 0, at, ended: true }
    }

    /// Reads the next line, or the next piece of a long one.
    pub fn read_line(&mut self) -> io::Result<Option<ManifestLine<'_>>> {
        self.at += self.line.len() as u64;
        self.line.clear();
        let most = RECORD_LINE_BYTES_MAX as u64;
        if self.reader.by_ref().take(most).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        let continues = !std::mem::replace(&mut self.ended, self.line.ends_with(b"\n"));
        self.number += u64::from(!continues);
        let bytes = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        Ok(Some(ManifestLine { number: self.number, at: self.at, bytes, continues, ended: self.ended }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], want: &[(u64, u64, usize, bool, bool)]) {
        let mut lines = ManifestLines::new(bytes);
        let mut found = Vec::new();
        while let Some(line) = lines.read_line().expect("no I/O here") {
            found.push((line.number, line.at, line.bytes.len(), line.continues, line.ended));
        }
        assert_eq!(found, want);
    }

    #[test]
    fn lines_have_numbers_and_places() {
        check(b"", &[]);
        check(b"a\n\nbc", &[(1, 0, 1, false, true), (2, 2, 0, false, true), (3, 3, 2, false, false)]);
    }

    #[test]
    fn an_endless_line_comes_in_pieces() {
        let most = RECORD_LINE_BYTES_MAX;
        let mut bytes = vec![b'x'; most + 1];
        bytes.extend(b"\ny\n");
        let (first, more) = ((1, 0, most, false, false), (1, most as u64, 1, true, true));
        check(&bytes, &[first, more, (2, most as u64 + 2, 1, false, true)]);
    }
}
