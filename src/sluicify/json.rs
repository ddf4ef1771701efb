//! As much of JSON as this program writes and reads (RFC 8259): strings out, the listing in. A crate for it
//! would be larger than the rest of the program.

/// A value. Of numbers only the place is kept, because none is needed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum JsonValue {
    Text(String),
    List(Vec<JsonValue>),
    Object(Vec<(String, JsonValue)>),
    /// A number, `true`, `false` or `null`.
    Other,
}

impl JsonValue {
    /// The value of a whole text; `None` where it is not JSON, or nested too deep.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut reader = JsonReader { rest: text, depth: 0 };
        let value = reader.value()?;
        reader.skip_blanks();
        reader.rest.is_empty().then_some(value)
    }

    /// The member of an object by its name.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    /// The elements of a list; none of anything else.
    pub(super) fn elements(&self) -> &[Self] {
        if let Self::List(elements) = self { elements } else { &[] }
    }

    /// The text of a string.
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// A text as a JSON string, in ASCII but for what is no control character.
pub(super) fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for ch in text.chars() {
        match ch {
            '"' | '\\' => json.extend(['\\', ch]),
            '\n' => json.push_str("\\n"),
            ch if ch.is_control() => json.push_str(&format!("\\u{:04x}", u32::from(ch))),
            ch => json.push(ch),
        }
    }
    json.push('"');
    json
}

/// Deepest nesting of a listing, and some to spare.
const DEPTH_MAX: u32 = 16;

struct JsonReader<'a> {
    rest: &'a str,
    depth: u32,
}

impl JsonReader<'_> {
    fn value(&mut self) -> Option<JsonValue> {
        self.skip_blanks();
        match self.rest.chars().next()? {
            '"' => self.string().map(JsonValue::Text),
            '[' => self.nested(']', Self::value).map(JsonValue::List),
            '{' => self.nested('}', Self::member).map(JsonValue::Object),
            _ => self.other(),
        }
    }

    fn member(&mut self) -> Option<(String, JsonValue)> {
        self.skip_blanks();
        let name = self.string()?;
        self.skip_blanks();
        self.take(':')?;
        Some((name, self.value()?))
    }

    /// What stands in brackets, with commas between.
    fn nested<T>(&mut self, end: char, item: fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.rest = self.rest.get(1..)?;
        self.depth = Some(self.depth + 1).filter(|depth| *depth <= DEPTH_MAX)?;
        let mut items = Vec::new();
        self.skip_blanks();
        if self.take(end).is_none() {
            loop {
                items.push(item(self)?);
                self.skip_blanks();
                if self.take(end).is_some() {
                    break;
                }
                self.take(',')?;
            }
        }
        self.depth -= 1;
        Some(items)
    }

    fn string(&mut self) -> Option<String> {
        self.take('"')?;
        let mut text = String::new();
        loop {
            let plain = self.rest.find(['"', '\\'])?;
            let (before, rest) = self.rest.split_at_checked(plain)?;
            text.push_str(before);
            self.rest = rest;
            if self.take('"').is_some() {
                return Some(text);
            }
            self.take('\\')?;
            text.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Option<char> {
        let escape = self.rest.chars().next()?;
        self.take(escape)?;
        Some(match escape {
            '"' | '\\' | '/' => escape,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let unit = self.unit()?;
                if !(0xd800..0xdc00).contains(&unit) {
                    return char::from_u32(unit);
                }
                self.take('\\')?;
                self.take('u')?;
                let low = self.unit()?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + low)?
            }
            _ => return None,
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        u32::from_str_radix(digits, 16).ok()
    }

    fn other(&mut self) -> Option<JsonValue> {
        let end = self.rest.find([',', ']', '}', ' ', '\n', '\t', '\r']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        // What is a number is not looked at closely: a parser for them is a tenth of this program.
        let is_number = word.starts_with(|ch: char| ch == '-' || ch.is_ascii_digit())
            && word.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        (is_number || ["true", "false", "null"].contains(&word)).then_some(JsonValue::Other)
    }

    fn take(&mut self, wanted: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(wanted)?;
        Some(())
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\n', '\t', '\r']);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Option<JsonValue>) {
        assert_eq!(JsonValue::parse(text), want, "{text}");
    }

    #[test]
    fn values_are_read() {
        check(
            r#" {"a":["b",1,true,{}],"c":[]} "#,
            Some(JsonValue::Object(vec![
                (
                    "a".into(),
                    JsonValue::List(vec![
                        JsonValue::Text("b".into()),
                        JsonValue::Other,
                        JsonValue::Other,
                        JsonValue::Object(Vec::new()),
                    ]),
                ),
                ("c".into(), JsonValue::List(Vec::new())),
            ])),
        );
        check(r#""\"\\\/\n\u00e9\ud83d\ude00""#, Some(JsonValue::Text("\"\\/\n\u{e9}\u{1f600}".into())));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "[1,]", "[1", "{\"a\"}", "\"\\x\"", "\"\\ud83d\"", "nul", "[] []", "\"", "{1:2}"] {
            check(text, None);
        }
        check(&"[".repeat(100_000), None);
    }

    #[test]
    fn strings_are_written_as_they_are_read() {
        for text in ["plain", "a\"b\\c", "\n\t\u{1}\u{9b}", "caf\u{e9} \u{1f600}"] {
            let json = json_string(text);
            assert!(!json.contains(char::is_control), "{json}");
            check(&json, Some(JsonValue::Text(text.into())));
        }
    }
}
