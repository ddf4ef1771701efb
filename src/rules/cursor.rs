//! A place in a line that moves to its end, character by character.

use super::fault::{RulesFault, SourceSpan};
use super::word::{QuotedChar, Quoting, SourceLine};

/// A place in a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineCursor<'s> {
    line: SourceLine<'s>,
    at: usize,
}

impl<'s> LineCursor<'s> {
    /// A cursor at byte `at` of a line.
    pub(super) fn new(line: SourceLine<'s>, at: usize) -> Self {
        Self { line, at }
    }

    /// The offset of the next byte.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The rest of the line.
    pub(super) fn rest(&self) -> &'s str {
        &self.line.text[self.at..]
    }

    /// The character that comes next.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// The character behind the next one, which has one byte.
    pub(super) fn second(&self) -> Option<char> {
        self.rest().chars().nth(1)
    }

    /// Moves on by so many bytes.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Moves to the next character that is not blank.
    pub(super) fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|ch| ch.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// The bytes from `start` to here.
    pub(super) fn since(&self, start: usize) -> SourceSpan {
        self.line.span(start, self.at)
    }

    /// The next `bytes` bytes, at most to the line's end.
    pub(super) fn ahead(&self, bytes: usize) -> SourceSpan {
        self.line.span(self.at, (self.at + bytes).min(self.line.text.len()))
    }

    /// Reads the next character, as it is.
    pub(super) fn glyph(&mut self, quoting: Quoting) -> QuotedChar {
        let (at, ch) = (self.at, self.peek().expect("the caller has seen a character"));
        self.at += ch.len_utf8();
        QuotedChar { ch, at, end: self.at, quoting }
    }

    /// Reads a backslash and the character behind it, which counts as data.
    pub(super) fn unescaped(&mut self) -> QuotedChar {
        let at = self.at;
        self.at += 1;
        QuotedChar { at, ..self.glyph(Quoting::Data) }
    }

    /// The problem of a quote that was opened at `start` and has no end.
    pub(super) fn unclosed(&self, start: usize, quote: char) -> RulesFault {
        let fault = RulesFault::new(self.since(start), "this quote is not closed");
        fault.help(format!("end it with {quote} on the same line"))
    }
}
