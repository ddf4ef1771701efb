//! Writes JSON in printable ASCII on one line, as records are written. Nothing in it can begin a second line
//! or reach a terminal raw.

use std::io;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

/// `value` as one line of JSON without its newline, everything but printable ASCII written `\uXXXX`.
pub fn to_ascii(value: &impl Serialize) -> String {
    let mut line = Vec::with_capacity(512);
    value
        .serialize(&mut Serializer::with_formatter(&mut line, AsciiJson))
        .expect("records hold only plain data");
    String::from_utf8(line).expect("the formatter writes ASCII")
}

struct AsciiJson;

impl Formatter for AsciiJson {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain = 0;
        for (at, character) in fragment.char_indices().filter(|(_, c)| !matches!(c, ' '..='~')) {
            writer.write_all(&fragment.as_bytes()[plain..at])?;
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain = at + character.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[plain..])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, want: &str) {
        assert_eq!(to_ascii(&text), want);
    }

    #[test]
    fn everything_but_printable_ascii_is_escaped() {
        check("plain ~", r#""plain ~""#);
        check("a\nb\u{1b}[31m\u{7f}", r#""a\nb\u001b[31m\u007f""#);
        check("caf\u{e9} \u{202e} \u{1f600}", r#""caf\u00e9 \u202e \ud83d\ude00""#);
        check("\"\\", r#""\"\\""#);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(words in prop::collection::vec(any::<String>(), 0..8)) {
            let line = to_ascii(&words);
            prop_assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&line).expect("JSON"), words);
        }
    }
}
