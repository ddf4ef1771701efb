//! Reads the escapes of `$'…'`, as bash(1) has them under QUOTING. Characters that bash would take but no
//! word can hold are errors: a NUL, which would end the word in bash, and bytes that are not UTF-8.

use super::cursor::LineCursor;
use super::fault::{RulesFault, SourceSpan};
use super::word::{QuotedChar, Quoting};

/// The meaning of one escape.
enum AnsiEscape {
    /// A character.
    Char(char),
    /// One byte of a character, which may have several.
    Byte(u8),
    /// No escape: the backslash stands for itself.
    Backslash,
}

/// Reads the characters of a `$'…'`, from its `$` on.
pub(super) fn ansi_quotes(
    cursor: &mut LineCursor<'_>,
    glyphs: &mut Vec<QuotedChar>,
) -> Result<(), RulesFault> {
    let (start, mut bytes) = (cursor.at(), ByteRun::default());
    cursor.skip(2);
    while let Some(ch) = cursor.peek() {
        let at = cursor.at();
        let escaped =
            if ch == '\\' { escape(cursor)? } else { AnsiEscape::Char(cursor.glyph(Quoting::Data).ch) };
        let escaped = match escaped {
            AnsiEscape::Byte(byte) => {
                bytes.push(byte, at, cursor.at());
                continue;
            }
            AnsiEscape::Char(ch) => ch,
            AnsiEscape::Backslash => '\\',
        };
        bytes.flush(cursor, glyphs)?;
        if ch == '\'' {
            return Ok(());
        }
        glyphs.push(QuotedChar { ch: escaped, at, end: cursor.at(), quoting: Quoting::Data });
    }
    Err(cursor.unclosed(start, '\''))
}

/// Reads a backslash and the characters that belong to its escape.
fn escape(cursor: &mut LineCursor<'_>) -> Result<AnsiEscape, RulesFault> {
    let start = cursor.at();
    cursor.skip(1);
    let Some(ch) = cursor.peek() else { return Ok(AnsiEscape::Backslash) };
    let plain = match ch {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'e' | 'E' => '\u{1b}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' | '\'' | '"' | '?' => ch,
        '0'..='7' => return numbered(cursor, start, &NumberForm { radix: 8, letters: 0, most: 3 }),
        'x' => return numbered(cursor, start, &NumberForm { radix: 16, letters: 1, most: 2 }),
        'u' => return numbered(cursor, start, &NumberForm { radix: 16, letters: 1, most: 4 }),
        'U' => return numbered(cursor, start, &NumberForm { radix: 16, letters: 1, most: 8 }),
        'c' => return control(cursor, start),
        _ => return Ok(AnsiEscape::Backslash),
    };
    cursor.skip(1);
    Ok(AnsiEscape::Char(plain))
}

/// The form of a number in an escape.
struct NumberForm {
    radix: u32,
    /// Letters before it.
    letters: usize,
    /// Most digits of it. Up to three are one byte, more are a character.
    most: usize,
}

/// Reads a byte or a character by its number. Without a digit the backslash stands for itself.
fn numbered(
    cursor: &mut LineCursor<'_>,
    start: usize,
    digits: &NumberForm,
) -> Result<AnsiEscape, RulesFault> {
    let rest = &cursor.rest()[digits.letters..];
    let length = rest.chars().take(digits.most).take_while(|ch| ch.is_digit(digits.radix)).count();
    if digits.most == 2 && rest.starts_with('{') {
        cursor.skip(2);
        let fault = RulesFault::new(cursor.since(start), r"`\x{` is not an escape that every shell has");
        return Err(fault.help(r"write `\xHH`, `\uHHHH` or `\UHHHHHHHH`"));
    }
    if length == 0 {
        return Ok(AnsiEscape::Backslash);
    }
    let number = u32::from_str_radix(&rest[..length], digits.radix).expect("at most eight digits");
    cursor.skip(digits.letters + length);
    let fault = |message| RulesFault::new(cursor.since(start), message);
    match char::from_u32(number) {
        Some('\0') => Err(fault("a NUL, which no word can hold")),
        Some(ch) if ch.is_ascii() || digits.most > 3 => Ok(AnsiEscape::Char(ch)),
        None if digits.most > 3 => Err(fault("no character has this number")),
        Some(_) | None => u8::try_from(number)
            .map(AnsiEscape::Byte)
            .map_err(|_| fault("this is more than one byte").help(r"the largest is `\377`")),
    }
}

/// `\cX`: the character that the control key and X make.
fn control(cursor: &mut LineCursor<'_>, start: usize) -> Result<AnsiEscape, RulesFault> {
    let key = cursor.second().filter(char::is_ascii_alphabetic);
    cursor.skip(1);
    let Some(key) = key else {
        return Err(RulesFault::new(cursor.since(start), r"`\c` needs a letter").help(r"write `\xHH`"));
    };
    cursor.skip(1);
    let number = u32::from(key.to_ascii_uppercase()) & 0x1f;
    Ok(AnsiEscape::Char(char::from_u32(number).expect("it is ASCII")))
}

/// Successive bytes that were written as numbers.
#[derive(Default)]
struct ByteRun {
    bytes: Vec<u8>,
    /// For each byte, where its escape stands in the line: the first byte, and the byte behind the last.
    places: Vec<(usize, usize)>,
}

impl ByteRun {
    fn push(&mut self, byte: u8, at: usize, end: usize) {
        self.bytes.push(byte);
        self.places.push((at, end));
    }

    /// Decodes the bytes as UTF-8, and adds their characters to `glyphs`.
    fn flush(&mut self, cursor: &LineCursor<'_>, glyphs: &mut Vec<QuotedChar>) -> Result<(), RulesFault> {
        let (Some((start, _)), Some((_, end))) = (self.places.first(), self.places.last()) else {
            return Ok(());
        };
        let text = std::str::from_utf8(&self.bytes).map_err(|_| {
            let fault = RulesFault::new(
                SourceSpan { end: *end, ..cursor.since(*start) },
                "these bytes are not UTF-8, and every word is",
            );
            fault.help(r"for a character, write `\uHHHH`")
        })?;
        for (from, ch) in text.char_indices() {
            let (at, end) = (self.places[from].0, self.places[from + ch.len_utf8() - 1].1);
            glyphs.push(QuotedChar { ch, at, end, quoting: Quoting::Data });
        }
        *self = Self::default();
        Ok(())
    }
}
