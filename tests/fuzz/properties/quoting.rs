//! Words as a shell may have them written: in each kind of quotes, in escapes of each kind, in pieces of
//! several kinds.

use std::fmt::Write;

use sluice::text;

/// How words are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quoting {
    /// `'…'`, where nothing has a meaning.
    Single,
    /// `"…"`, with a backslash before what would have a meaning.
    Double,
    /// No quotes, and a backslash before each character.
    Backslashes,
    /// `$'…'`, with an escape for each character, of every kind in turn.
    Escapes,
    /// Pieces of some characters, each in another way.
    Pieces,
    /// As this program prints a command.
    Shown,
}

impl Quoting {
    pub(crate) const ALL: [Self; 6] =
        [Self::Single, Self::Double, Self::Backslashes, Self::Escapes, Self::Pieces, Self::Shown];

    /// One word. What cannot stand in a line has an escape in any case.
    pub(crate) fn word(self, word: &str) -> String {
        if word.contains(['\n', '\r']) && self != Self::Shown {
            return escapes(word);
        }
        match self {
            Self::Single => single(word),
            Self::Double => double(word),
            Self::Backslashes if word.is_empty() => "\"\"".into(),
            Self::Backslashes => word.chars().flat_map(|ch| ['\\', ch]).collect(),
            Self::Escapes => escapes(word),
            Self::Pieces => pieces(word),
            Self::Shown => text::quoted(word).into_owned(),
        }
    }

    /// What may follow on the line of a rule.
    pub(crate) fn comment(self) -> &'static str {
        match self {
            Self::Single | Self::Shown => "",
            Self::Double => " ; it's a \"comment",
            Self::Backslashes => "\t;",
            Self::Escapes => " ;; $'\\x #n $NAME",
            Self::Pieces => "   ;#1 'unclosed",
        }
    }
}

/// In single quotes, where nothing has a meaning.
pub(crate) fn single(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn double(word: &str) -> String {
    let mut written = String::from('"');
    for ch in word.chars() {
        if matches!(ch, '$' | '"' | '\\' | '`') {
            written.push('\\');
        }
        written.push(ch);
    }
    written + "\""
}

fn pieces(word: &str) -> String {
    let letters: Vec<_> = word.chars().collect();
    let ways = [Quoting::Double, Quoting::Backslashes, Quoting::Escapes, Quoting::Single, Quoting::Shown];
    let pieces = letters.chunks(3).zip(ways.iter().cycle());
    let written: String = pieces.map(|(piece, way)| way.word(&String::from_iter(piece))).collect();
    // Bare, it would be no word.
    if written.is_empty() { "''".into() } else { written }
}

fn escapes(word: &str) -> String {
    let mut written = String::from("$'");
    for (at, ch) in word.chars().enumerate() {
        push_escape(&mut written, at, ch);
    }
    written + "'"
}

fn push_escape(written: &mut String, at: usize, ch: char) {
    let named = "\u{7}a\u{8}b\u{1b}e\u{1b}E\u{c}f\nn\rr\tt\u{b}v\\\\''\"\"??";
    let name = named.chars().step_by(2).zip(named.chars().skip(1).step_by(2)).find(|(of, _)| *of == ch);
    let number = u32::from(ch);
    let letter = char::from_u32(64 + number).filter(char::is_ascii_uppercase);
    let result = match (at % 6, name, letter) {
        (0 | 1, Some((_, name)), _) => write!(written, "\\{name}"),
        (2, _, Some(letter)) => write!(written, "\\c{letter}"),
        (0 | 2, ..) if number < 128 => write!(written, "\\{number:03o}"),
        (1 | 3, ..) => {
            ch.encode_utf8(&mut [0; 4]).bytes().try_for_each(|byte| write!(written, "\\x{byte:02X}"))
        }
        _ if number <= 0xffff => write!(written, "\\u{number:04x}"),
        _ => write!(written, "\\U{number:08X}"),
    };
    result.expect("a string takes any text");
}
