//! What a command wrote to one stream, as far as an answer keeps it: the beginning and the end.

use std::collections::VecDeque;

use serde::Serialize;

use crate::limits::OUTPUT_HALF_BYTES_MAX;

/// The bytes of a stream, bounded.
#[derive(Debug, Default)]
pub(crate) struct OutputBuffer {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    bytes: usize,
}

/// A stream in an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ShownOutput {
    /// The text. Where a part was left out, a line says so; bytes that are not UTF-8 are `\xHH`.
    pub(crate) text: String,
    /// The bytes that the command wrote.
    pub(crate) bytes: usize,
    /// Whether a part was left out.
    pub(crate) truncated: bool,
    /// Whether all bytes that are shown are UTF-8.
    pub(crate) utf8: bool,
}

impl OutputBuffer {
    /// Adds what was read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        let to_head = bytes.len().min(OUTPUT_HALF_BYTES_MAX - self.head.len());
        let (head, tail) = bytes.split_at(to_head);
        self.head.extend(head);
        let kept = tail.len().min(OUTPUT_HALF_BYTES_MAX);
        let surplus = (self.tail.len() + kept).saturating_sub(OUTPUT_HALF_BYTES_MAX);
        self.tail.drain(..surplus);
        self.tail.extend(tail.iter().skip(tail.len() - kept));
    }

    /// The stream for an answer.
    pub(crate) fn finish(self) -> ShownOutput {
        let (mut head, mut tail) = (self.head, Vec::from(self.tail));
        let truncated = head.len() + tail.len() < self.bytes;
        let mut utf8 = true;
        let text = if truncated {
            head.truncate(head.len() - unfinished(&head));
            tail.drain(..continued(&tail));
            let left_out = self.bytes - head.len() - tail.len();
            let head = shown(&head, &mut utf8);
            format!("{head}\n[... {left_out} bytes left out ...]\n{}", shown(&tail, &mut utf8))
        } else {
            head.extend(tail);
            shown(&head, &mut utf8)
        };
        ShownOutput { text, bytes: self.bytes, truncated, utf8 }
    }
}

/// The bytes at the end that begin a character of which the rest was cut off.
fn unfinished(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last().map(|chunk| chunk.invalid()).unwrap_or_default();
    match std::str::from_utf8(last) {
        Err(error) if error.error_len().is_none() => last.len(),
        _ => 0,
    }
}

/// The bytes at the beginning that go on with a character of which the first was cut off.
fn continued(bytes: &[u8]) -> usize {
    bytes.iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count()
}

fn shown(bytes: &[u8], utf8: &mut bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        *utf8 &= chunk.invalid().is_empty();
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(chunks: &[&[u8]]) -> ShownOutput {
        let mut buffer = OutputBuffer::default();
        chunks.iter().for_each(|chunk| buffer.push(chunk));
        buffer.finish()
    }

    #[test]
    fn what_fits_is_whole() {
        let all = "x".repeat(2 * OUTPUT_HALF_BYTES_MAX);
        let want = ShownOutput { text: all.clone(), bytes: all.len(), truncated: false, utf8: true };
        assert_eq!(output(&[all.as_bytes()]), want);
        let (a, b) = all.as_bytes().split_at(1000);
        assert_eq!(output(&[a, b]), want);
        assert_eq!(output(&[]), ShownOutput { utf8: true, ..ShownOutput::default() });
    }

    #[test]
    fn of_what_does_not_fit_the_beginning_and_the_end_are_kept() {
        let all: String = (0..20_000).map(|number| format!("{number}\n")).collect();
        for size in [7, 4096, all.len()] {
            let chunks: Vec<_> = all.as_bytes().chunks(size).collect();
            let got = output(&chunks);
            assert!(got.truncated && got.utf8 && got.bytes == all.len());
            assert!(got.text.starts_with("0\n1\n2\n") && got.text.ends_with("\n19999\n"));
            let line = format!("[... {} bytes left out ...]", all.len() - 2 * OUTPUT_HALF_BYTES_MAX);
            assert!(got.text.contains(&line), "{line}");
        }
    }

    #[test]
    fn a_cut_does_not_break_a_character() {
        let all = format!("x{}", "\u{e9}".repeat(2 * OUTPUT_HALF_BYTES_MAX));
        let got = output(&[all.as_bytes()]);
        assert!(got.utf8 && !got.text.contains('\\'), "{:?}", got.text.get(..20));
    }

    #[test]
    fn bytes_that_are_no_text_are_shown() {
        let got = output(&[b"a\xffb\xc3"]);
        assert_eq!((got.text.as_str(), got.utf8), ("a\\xffb\\xc3", false));
    }
}
