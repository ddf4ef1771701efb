//! The escapes of `$'…'`, as bash(1) has them under QUOTING. What bash would make of them and no word can
//! hold is an error: a NUL, which would end the word in bash, and bytes that are not UTF-8.

use super::cursor::Cursor;
use super::diagnostic::{Fault, Span};
use super::word::{Glyph, Quoting};

/// What one escape stands for.
enum Escaped {
    /// A character.
    Char(char),
    /// One byte, of a character that may take several.
    Byte(u8),
    /// Nothing: the backslash is one.
    Backslash,
}

/// The characters of a `$'…'`, from its `$` on.
pub(super) fn ansi_quotes(cursor: &mut Cursor<'_>, glyphs: &mut Vec<Glyph>) -> Result<(), Fault> {
    let (start, mut bytes) = (cursor.at(), Bytes::default());
    cursor.skip(2);
    while let Some(ch) = cursor.peek() {
        let at = cursor.at();
        let escaped =
            if ch == '\\' { escape(cursor)? } else { Escaped::Char(cursor.glyph(Quoting::Data).ch) };
        let escaped = match escaped {
            Escaped::Byte(byte) => {
                bytes.push(byte, at, cursor.at());
                continue;
            }
            Escaped::Char(ch) => ch,
            Escaped::Backslash => '\\',
        };
        bytes.flush(cursor, glyphs)?;
        if ch == '\'' {
            return Ok(());
        }
        glyphs.push(Glyph { ch: escaped, at, end: cursor.at(), quoting: Quoting::Data });
    }
    Err(cursor.unclosed(start, '\''))
}

/// Takes a backslash and what belongs to it.
fn escape(cursor: &mut Cursor<'_>) -> Result<Escaped, Fault> {
    let start = cursor.at();
    cursor.skip(1);
    let Some(ch) = cursor.peek() else { return Ok(Escaped::Backslash) };
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
        '0'..='7' => return numbered(cursor, start, &Digits { radix: 8, letters: 0, most: 3 }),
        'x' => return numbered(cursor, start, &Digits { radix: 16, letters: 1, most: 2 }),
        'u' => return numbered(cursor, start, &Digits { radix: 16, letters: 1, most: 4 }),
        'U' => return numbered(cursor, start, &Digits { radix: 16, letters: 1, most: 8 }),
        'c' => return control(cursor, start),
        _ => return Ok(Escaped::Backslash),
    };
    cursor.skip(1);
    Ok(Escaped::Char(plain))
}

/// How a number is written.
struct Digits {
    radix: u32,
    /// Letters before it.
    letters: usize,
    /// Most digits of it. Up to three are one byte, more are a character.
    most: usize,
}

/// A byte or a character by its number. Without a digit the backslash is one.
fn numbered(cursor: &mut Cursor<'_>, start: usize, digits: &Digits) -> Result<Escaped, Fault> {
    let rest = &cursor.rest()[digits.letters..];
    let length = rest.chars().take(digits.most).take_while(|ch| ch.is_digit(digits.radix)).count();
    if digits.most == 2 && rest.starts_with('{') {
        cursor.skip(2);
        let fault = Fault::new(cursor.since(start), r"`\x{` is not an escape that every shell has");
        return Err(fault.help(r"write `\xHH`, `\uHHHH` or `\UHHHHHHHH`"));
    }
    if length == 0 {
        return Ok(Escaped::Backslash);
    }
    let number = u32::from_str_radix(&rest[..length], digits.radix).expect("at most eight digits");
    cursor.skip(digits.letters + length);
    let fault = |message| Fault::new(cursor.since(start), message);
    match char::from_u32(number) {
        Some('\0') => Err(fault("a NUL, which no word can hold")),
        Some(ch) if ch.is_ascii() || digits.most > 3 => Ok(Escaped::Char(ch)),
        None if digits.most > 3 => Err(fault("no character has this number")),
        Some(_) | None => u8::try_from(number)
            .map(Escaped::Byte)
            .map_err(|_| fault("this is more than one byte").help(r"the largest is `\377`")),
    }
}

/// `\cX`: the character that the control key and X make.
fn control(cursor: &mut Cursor<'_>, start: usize) -> Result<Escaped, Fault> {
    let key = cursor.second().filter(char::is_ascii_alphabetic);
    cursor.skip(1);
    let Some(key) = key else {
        return Err(Fault::new(cursor.since(start), r"`\c` needs a letter").help(r"write `\xHH`"));
    };
    cursor.skip(1);
    let number = u32::from(key.to_ascii_uppercase()) & 0x1f;
    Ok(Escaped::Char(char::from_u32(number).expect("it is ASCII")))
}

/// Bytes in a row that were written as numbers.
#[derive(Default)]
struct Bytes {
    bytes: Vec<u8>,
    /// The first byte of each escape in the line, and the byte behind its last.
    places: Vec<(usize, usize)>,
}

impl Bytes {
    fn push(&mut self, byte: u8, at: usize, end: usize) {
        self.bytes.push(byte);
        self.places.push((at, end));
    }

    /// Makes characters of them.
    fn flush(&mut self, cursor: &Cursor<'_>, glyphs: &mut Vec<Glyph>) -> Result<(), Fault> {
        let (Some((start, _)), Some((_, end))) = (self.places.first(), self.places.last()) else {
            return Ok(());
        };
        let text = std::str::from_utf8(&self.bytes).map_err(|_| {
            let fault = Fault::new(
                Span { end: *end, ..cursor.since(*start) },
                "these bytes are not UTF-8, and every word is",
            );
            fault.help(r"for a character, write `\uHHHH`")
        })?;
        for (from, ch) in text.char_indices() {
            let (at, end) = (self.places[from].0, self.places[from + ch.len_utf8() - 1].1);
            glyphs.push(Glyph { ch, at, end, quoting: Quoting::Data });
        }
        *self = Self::default();
        Ok(())
    }
}
