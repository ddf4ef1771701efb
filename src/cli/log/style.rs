//! The width and the colours of stdout, and a line that fits it.

use std::io::{self, IsTerminal};

use jiff::tz::TimeZone;

use crate::audit::{ParsedRecord, now_ms};
use crate::sys;
use crate::text::{command_line, printable};

/// The look of answers.
#[derive(Debug)]
pub(super) struct OutputStyle {
    /// The columns of the terminal; a longer line is cut.
    pub(super) width: Option<usize>,
    pub(super) is_coloured: bool,
    pub(super) zone: TimeZone,
    /// The time, in milliseconds since 1970.
    pub(super) now: u64,
}

impl OutputStyle {
    /// The style that suits stdout.
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

/// The words of a record, as a shell would read them.
pub(super) fn command(record: &ParsedRecord) -> String {
    let cut = if record.argv_bytes.is_some() { " ..." } else { "" };
    command_line(&record.argv) + cut
}

/// A line that is printable, and no wider than the terminal. A character beyond ASCII counts as two columns,
/// the most that a character takes.
pub(super) fn fit(line: &str, width: Option<usize>) -> String {
    let line = printable(line.trim_end());
    let Some(width) = width else { return line.into_owned() };
    let columns = |ch: char| if ch.is_ascii() { 1 } else { 2 };
    if line.chars().map(columns).sum::<usize>() <= width {
        return line.into_owned();
    }
    let mut left = width.saturating_sub(3);
    let shown = line.chars().take_while(|&ch| {
        let fits = columns(ch) <= left;
        left = left.saturating_sub(columns(ch));
        fits
    });
    shown.chain("...".chars()).take(width).collect()
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
}
