//! A slot's regex as a pattern of ECMA 262, for a schema. A regex of the broker's is parsed as the broker
//! parses it, and the parsed value is written in the other syntax, piece by piece, where a piece means the
//! same in both. A regex with a piece that does not has no pattern.

use regex_syntax::hir::{Class, ClassUnicode, Hir, HirKind, Look, Repetition};

use crate::limits::PATTERN_BYTES_MAX;

/// The nesting that the broker allows (`REGEX_NEST_MAX`).
const NEST_MAX: u32 = sluice::limits::REGEX_NEST_MAX;

/// The first and the last of the code units that are halves of a character in UTF-16.
const SURROGATES: (u32, u32) = (0xd800, 0xdfff);

/// The pattern that matches the whole values that `regex` matches, but for those that begin with `-` where
/// `dash` is false. `None` where there is none that means the same.
pub(crate) fn pattern(regex: &str, dash: bool) -> Option<String> {
    let hir = regex_syntax::ParserBuilder::new().nest_limit(NEST_MAX).build().parse(regex).ok()?;
    let mut writer = PatternWriter::default();
    let guard = if !dash && may_begin_with_dash(&hir).dash { "(?!-)" } else { "" };
    let is_choice = matches!(hir.kind(), HirKind::Alternation(_));
    if is_choice {
        writer.group(&hir)?
    } else {
        writer.write(&hir)?
    }
    let text = format!("^{guard}{}$", writer.text);
    (text.len() <= PATTERN_BYTES_MAX).then_some(text)
}

/// What a regex can begin with.
struct Beginning {
    /// It can match a value that begins with `-`.
    dash: bool,
    /// It can match without a byte.
    empty: bool,
}

fn may_begin_with_dash(hir: &Hir) -> Beginning {
    let one = |dash| Beginning { dash, empty: false };
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Beginning { dash: false, empty: true },
        HirKind::Literal(literal) => one(literal.0.first() == Some(&b'-')),
        HirKind::Class(Class::Unicode(class)) => {
            one(class.iter().any(|range| range.start() <= '-' && '-' <= range.end()))
        }
        HirKind::Class(Class::Bytes(class)) => {
            one(class.iter().any(|range| range.start() <= b'-' && b'-' <= range.end()))
        }
        HirKind::Repetition(repetition) => {
            let Beginning { dash, empty } = may_begin_with_dash(&repetition.sub);
            Beginning { dash, empty: empty || repetition.min == 0 }
        }
        HirKind::Capture(capture) => may_begin_with_dash(&capture.sub),
        HirKind::Concat(parts) => {
            let mut dash = false;
            let empty = parts.iter().map(may_begin_with_dash).all(|part| {
                dash |= part.dash;
                part.empty
            });
            Beginning { dash, empty }
        }
        HirKind::Alternation(choices) => {
            choices.iter().map(may_begin_with_dash).fold(one(false), |all, choice| Beginning {
                dash: all.dash || choice.dash,
                empty: all.empty || choice.empty,
            })
        }
    }
}

/// The text of a pattern. Its methods give `None` for what has no equal.
#[derive(Default)]
struct PatternWriter {
    text: String,
}

impl PatternWriter {
    fn write(&mut self, hir: &Hir) -> Option<()> {
        match hir.kind() {
            HirKind::Empty => self.text.push_str("(?:)"),
            HirKind::Literal(literal) => {
                let text = std::str::from_utf8(&literal.0).ok()?;
                text.chars().for_each(|ch| self.character(ch, r"^$\.*+?()[]{}|/"));
            }
            HirKind::Class(Class::Unicode(class)) => self.class(class)?,
            HirKind::Class(Class::Bytes(class)) => self.class(&class.to_unicode_class()?)?,
            HirKind::Look(look) => self.look(*look)?,
            HirKind::Repetition(repetition) => self.repetition(repetition)?,
            HirKind::Capture(capture) => self.group(&capture.sub)?,
            HirKind::Concat(parts) => {
                for part in parts {
                    let is_choice = matches!(part.kind(), HirKind::Alternation(_));
                    if is_choice { self.group(part)? } else { self.write(part)? }
                }
            }
            HirKind::Alternation(choices) => {
                for (number, choice) in choices.iter().enumerate() {
                    if number > 0 {
                        self.text.push('|');
                    }
                    self.write(choice)?;
                }
            }
        }
        Some(())
    }

    fn group(&mut self, hir: &Hir) -> Option<()> {
        self.text.push_str("(?:");
        self.write(hir)?;
        self.text.push(')');
        Some(())
    }

    fn look(&mut self, look: Look) -> Option<()> {
        let equals = [(Look::Start, "^"), (Look::End, "$"), (Look::WordAscii, r"\b")];
        let (_, text) = equals.iter().find(|(equal, _)| *equal == look)?;
        self.text.push_str(text);
        Some(())
    }

    /// Greedy or not, a repetition matches the same whole values.
    fn repetition(&mut self, repetition: &Repetition) -> Option<()> {
        let kind = repetition.sub.kind();
        let is_atom =
            matches!(kind, HirKind::Class(_)) || matches!(kind, HirKind::Literal(one) if one.0.len() == 1);
        if is_atom {
            self.write(&repetition.sub)?
        } else {
            self.group(&repetition.sub)?
        }
        let times = match (repetition.min, repetition.max) {
            (0, None) => "*".to_owned(),
            (1, None) => "+".to_owned(),
            (0, Some(1)) => "?".to_owned(),
            (min, None) => format!("{{{min},}}"),
            (min, Some(max)) if min == max => format!("{{{min}}}"),
            (min, Some(max)) => format!("{{{min},{max}}}"),
        };
        self.text.push_str(&times);
        Some(())
    }

    /// A class by its characters, or by those that are not in it, whichever lie in the range that needs no
    /// surrogates: what these mean depends on the flags with which a validator compiles the pattern.
    fn class(&mut self, class: &ClassUnicode) -> Option<()> {
        let mut others = class.clone();
        others.negate();
        match (is_plain(class), is_plain(&others)) {
            (true, _) if !class.ranges().is_empty() => self.ranges("[", class),
            (_, true) if others.ranges().is_empty() => self.text.push_str(r"[\s\S]"),
            (_, true) if !class.ranges().is_empty() => self.ranges("[^", &others),
            _ => return None,
        }
        Some(())
    }

    fn ranges(&mut self, open: &str, class: &ClassUnicode) {
        const SPECIAL: &str = r"\[]^-";
        self.text.push_str(open);
        for range in class.iter() {
            self.character(range.start(), SPECIAL);
            if range.start() != range.end() {
                if u32::from(range.end()) - u32::from(range.start()) > 1 {
                    self.text.push('-');
                }
                self.character(range.end(), SPECIAL);
            }
        }
        self.text.push(']');
    }

    fn character(&mut self, ch: char, special: &str) {
        match ch {
            '\n' => self.text.push_str(r"\n"),
            '\r' => self.text.push_str(r"\r"),
            '\t' => self.text.push_str(r"\t"),
            ch if special.contains(ch) => self.text.extend(['\\', ch]),
            ' '..='~' => self.text.push(ch),
            ch if u32::from(ch) <= 0xff => self.text.push_str(&format!(r"\x{:02x}", u32::from(ch))),
            ch if u32::from(ch) <= 0xffff => self.text.push_str(&format!(r"\u{:04x}", u32::from(ch))),
            // In a literal, where it means itself with every flag.
            ch => self.text.push(ch),
        }
    }
}

/// Whether a class can be written without surrogates.
fn is_plain(class: &ClassUnicode) -> bool {
    class.iter().all(|range| {
        let (start, end) = (u32::from(range.start()), u32::from(range.end()));
        end <= 0xffff && (end < SURROGATES.0 || start > SURROGATES.1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(regex: &str, want: Option<&str>) {
        assert_eq!(pattern(regex, true).as_deref(), want, "{regex}");
    }

    #[test]
    fn what_means_the_same_is_written_anchored() {
        check("[1-9][0-9]?", Some("^[1-9][0-9]?$"));
        check("main|dev", Some("^(?:main|dev)$"));
        check("(a|b+)c{2,5}?", Some("^(?:a|b+)c{2,5}$"));
        check(r"a\.b/c", Some(r"^a\.b\/c$"));
        check(".*", Some(r"^[^\n]*$"));
        check("(?s).", Some(r"^[\s\S]$"));
        check("[^/]+", Some("^[^/]+$"));
        check("(?-u)\\d{3}", Some("^[0-9]{3}$"));
        check("[a-b\\]^-]", Some(r"^[\-\]\^ab]$"));
        check("(?i)s", Some(r"^[Ss\u017f]$"));
        check("(?:ab)*", Some("^(?:ab)*$"));
        check("", Some("^(?:)$"));
        check("caf\u{e9}", Some(r"^caf\xe9$"));
    }

    #[test]
    fn what_has_no_equal_has_no_pattern() {
        check(r"\d+", None);
        check(r"\w+", None);
        check(r"\bx", None);
        check("(?m)^x$", None);
        check("[\u{1f600}-\u{1f64f}]", None);
        check("[a&&b]", None);
        check(&"[a-z]{1,9}x".repeat(400), None);
    }

    #[test]
    fn a_value_that_begins_with_a_dash_is_shut_out_where_it_could_match() {
        let check =
            |regex: &str, want: &str| assert_eq!(pattern(regex, false).as_deref(), Some(want), "{regex}");
        check("[a-z]+", "^[a-z]+$");
        check("[a-z-]+", r"^(?!-)[\-a-z]+$");
        check("a?-b", r"^(?!-)a?-b$");
        check("(?:x|-)y", r"^(?!-)[\-x]y$");
        check("", "^(?:)$");
        check("(a*)(b*)-", r"^(?!-)(?:a*)(?:b*)-$");
        check("a+-", r"^a+-$");
    }
}
