//! What is printable, how wide stdout is, and whether it takes colour.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use jiff::tz::TimeZone;

use crate::audit::{ParsedRecord, now_ms};
use crate::sys;
use crate::text::command_line;

/// How answers look.
#[derive(Debug)]
pub(super) struct OutputStyle {
    /// The columns there are; a line that is longer is cut.
    pub(super) width: Option<usize>,
    pub(super) is_coloured: bool,
    pub(super) zone: TimeZone,
    /// The time, in milliseconds since 1970.
    pub(super) now: u64,
}

impl OutputStyle {
    /// As it suits stdout.
    pub(super) fn of_stdout() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let width = if is_terminal { sys::columns(&stdout) } else { None };
        Self {
            width,
            is_coloured: is_terminal && !no_colour && !is_dumb,
            zone: TimeZone::system(),
            now: now_ms(),
        }
    }
}

/// The words of a record, as a shell would take them.
pub(super) fn command(record: &ParsedRecord) -> String {
    let cut = if record.argv_bytes.is_some() { " ..." } else { "" };
    command_line(&record.argv) + cut
}

/// A line that is printable, and no wider than the terminal. Characters beyond ASCII count as two columns, which is
/// the most that one takes.
pub(super) fn fit(line: &str, width: Option<usize>) -> String {
    let line = printable(line.trim_end());
    let Some(width) = width else { return line };
    let columns = |ch: char| if ch.is_ascii() { 1 } else { 2 };
    if line.chars().map(columns).sum::<usize>() <= width {
        return line;
    }
    let mut left = width.saturating_sub(3);
    let shown = line.chars().take_while(|&ch| {
        let fits = columns(ch) <= left;
        left = left.saturating_sub(columns(ch));
        fits
    });
    shown.chain("...".chars()).take(width).collect()
}

/// The text with all that is not printable spelled out as `\u{…}`.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    text.chars().for_each(|ch| push_printable(&mut shown, ch));
    shown
}

/// Adds a character, or how it is spelled.
pub(super) fn push_printable(shown: &mut String, ch: char) {
    // What stands for itself when Rust escapes a text is what its tables hold to be printable.
    if ch == ' ' || ch.is_ascii_graphic() || (!ch.is_ascii() && ch.escape_debug().len() == 1) {
        return shown.push(ch);
    }
    write!(shown, "\\u{{{:x}}}", u32::from(ch)).expect("a string takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wider_than_the_terminal() {
        assert_eq!(fit("abcdef", Some(6)), "abcdef");
        assert_eq!(fit("abcdefg", Some(6)), "abc...");
        assert_eq!(fit("ab\u{4e2d}\u{4e2d}", Some(5)), "ab...");
        assert_eq!(fit("abc", Some(2)), "..");
    }

    #[test]
    fn only_what_is_printable_is_printed() {
        let check = |text: &str, want: &str| assert_eq!(printable(text), want);
        check("caf\u{e9} \u{4e2d}", "caf\u{e9} \u{4e2d}");
        check("\n\t\u{1b}\u{7f}\u{9b}", r"\u{a}\u{9}\u{1b}\u{7f}\u{9b}");
        check("\u{202e}\u{2066}\u{200b}\u{feff}", r"\u{202e}\u{2066}\u{200b}\u{feff}");
        check("\u{301}\u{e000}\u{2028}\u{a0}", r"\u{301}\u{e000}\u{2028}\u{a0}");
    }
}
