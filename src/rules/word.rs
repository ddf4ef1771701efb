//! Lines and words. A [`QuotedWord`] keeps, for every character, where it stands and how it is quoted, so
//! that slots and variables are told from text and a caret can point into the middle of a value.

use super::fault::SourceSpan;

/// One line of a rules file, without its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourceLine<'s> {
    /// The text.
    pub(super) text: &'s str,
    /// The file's number.
    pub(super) file: usize,
    /// The line's number, from 0.
    pub(super) number: usize,
}

impl SourceLine<'_> {
    /// The bytes from `start` to `end` as a span.
    pub(super) fn span(&self, start: usize, end: usize) -> SourceSpan {
        SourceSpan { file: self.file, line: self.number, start, end }
    }

    /// The line without the blanks around it.
    pub(super) fn content(&self) -> SourceSpan {
        let end = self.text.trim_ascii_end().len();
        self.span(self.text.len() - self.text.trim_ascii_start().len(), end)
    }
}

/// How a character is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quoting {
    /// Not at all: a shell might give it a meaning.
    Bare,
    /// In double quotes, where variables expand and nothing else has a meaning.
    Double,
    /// In single quotes, by an escape, or behind a backslash: it is data.
    Data,
}

/// One character of a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuotedChar {
    /// The character.
    pub(super) ch: char,
    /// The first byte of its spelling in the line, its backslash included.
    pub(super) at: usize,
    /// The byte behind the last.
    pub(super) end: usize,
    /// How it is quoted.
    pub(super) quoting: Quoting,
}

impl QuotedChar {
    /// Whether a `$` here begins a variable, or a letter goes on with one.
    pub(super) fn is_active(&self) -> bool {
        self.quoting != Quoting::Data
    }

    /// Whether it is this character, unquoted.
    pub(super) fn is_bare(&self, ch: char) -> bool {
        self.ch == ch && self.quoting == Quoting::Bare
    }
}

/// One word, its quotes taken off.
#[derive(Clone, Debug)]
pub(super) struct QuotedWord {
    /// Its characters.
    pub(super) glyphs: Vec<QuotedChar>,
    /// The whole word in the line, quotes included.
    pub(super) span: SourceSpan,
    /// Whether any of it is quoted or escaped.
    pub(super) quoted: bool,
    /// The place of the `;` that ended the value and began a comment without a blank before it.
    pub(super) cut: Option<usize>,
}

impl QuotedWord {
    /// The word as text, nothing expanded.
    pub(super) fn text(&self) -> String {
        self.glyphs.iter().map(|glyph| glyph.ch).collect()
    }

    /// The place of the characters from `from` to before `to`.
    pub(super) fn part(&self, from: usize, to: usize) -> SourceSpan {
        let start = self.glyphs.get(from).map_or(self.span.end, |glyph| glyph.at);
        let last = to.checked_sub(1).and_then(|last| self.glyphs.get(last));
        SourceSpan { start, end: last.map_or(self.span.end, |last| last.end), ..self.span }
    }

    /// The characters from `from` to before `to`, blanks around them left out, as a word of their own.
    pub(super) fn slice(&self, from: usize, to: usize) -> Self {
        let solid = |index: &usize| !self.glyphs[*index].ch.is_ascii_whitespace();
        let from = (from..to).find(solid).unwrap_or(to);
        let to = (from..to).rev().find(solid).map_or(from, |last| last + 1);
        Self { glyphs: self.glyphs[from..to].to_vec(), span: self.part(from, to), ..*self }
    }

    /// The parts between the separators, each without the blanks around it.
    pub(super) fn split(&self, separator: char) -> Vec<Self> {
        let mut ends: Vec<_> = (0..self.glyphs.len()).filter(|&at| self.glyphs[at].ch == separator).collect();
        ends.push(self.glyphs.len());
        let starts = std::iter::once(0).chain(ends.iter().map(|end| end + 1));
        starts.zip(&ends).map(|(from, &to)| self.slice(from, to)).collect()
    }
}
