//! Parses attribute values into types. Each function takes the value as a word, and reports a problem at its
//! place in the word.

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use crate::limits::{CALLS_MAX, TIMEOUT_MAX};
use crate::text::quoted;

use super::fault::RulesFault;
use super::resources::bytes;
use super::settings::{CaptureMax, ExecPath};
use super::variables::LoadVariables;
use super::vocabulary::nearest;
use super::word::QuotedWord;

/// `250ms`, `30s`, `5m`, `2h`; a bare number is seconds.
pub(super) fn duration(word: &QuotedWord) -> Result<Duration, RulesFault> {
    let text = word.text();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    if number.is_empty() || milliseconds == 0 {
        let fault = RulesFault::new(word.span, format!("`{text}` is not a duration"));
        return Err(fault.help("write a whole number and ms, s, m or h: `250ms`, `30s`, `5m`, `2h`"));
    }
    let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds));
    match total.map(Duration::from_millis) {
        Some(Duration::ZERO) => {
            Err(RulesFault::new(word.span, "a timeout of nothing would end every call at once"))
        }
        Some(duration) if duration <= TIMEOUT_MAX => Ok(duration),
        Some(_) | None => Err(RulesFault::new(word.span, "this timeout is too long")
            .help(format!("the longest is {}h; leave the line out for none", TIMEOUT_MAX.as_secs() / 3600))),
    }
}

/// An absolute path, its variables expanded.
pub(super) fn path(word: &QuotedWord, vars: &LoadVariables<'_>) -> Result<PathBuf, RulesFault> {
    let path = vars.expand(word)?;
    if path.starts_with('/') {
        return Ok(path.into());
    }
    Err(RulesFault::new(word.span, "this path is not absolute").help("begin it with `/` or `$HOME/`"))
}

/// `inherit`, or absolute directories between colons.
pub(super) fn exec_path(word: &QuotedWord, vars: &LoadVariables<'_>) -> Result<ExecPath, RulesFault> {
    if word.text() == "inherit" {
        return Ok(ExecPath::Inherit);
    }
    let own = "for the broker's own PATH, write `exec_path = inherit`, alone";
    let is_own = |word: &QuotedWord| matches!(word.text().as_str(), "$PATH" | "${PATH}" | "inherit");
    let parts = word.split(':');
    let named = |part: &QuotedWord| {
        directory(part, vars).map_err(|fault| if is_own(part) { fault.help(own) } else { fault })
    };
    parts.iter().map(named).collect::<Result<_, _>>().map(ExecPath::List)
}

/// A path in a list between colons. A variable's value may contain a colon, so the path is checked after
/// variables are replaced.
fn directory(word: &QuotedWord, vars: &LoadVariables<'_>) -> Result<PathBuf, RulesFault> {
    let directory = path(word, vars)?;
    if directory.as_os_str().as_encoded_bytes().contains(&b':') {
        let message =
            format!("this is {}, and a `:` separates directories", quoted(&directory.to_string_lossy()));
        return Err(RulesFault::new(word.span, message)
            .help("no directory of `exec_path` can have a `:` in its name"));
    }
    Ok(directory)
}

/// Octal, at most `777`.
pub(super) fn umask(word: &QuotedWord) -> Result<u32, RulesFault> {
    let text = word.text();
    let digits = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mask = u32::from_str_radix(&text, 8).ok().filter(|mask| digits && *mask <= 0o777);
    mask.ok_or_else(|| {
        RulesFault::new(word.span, format!("`{text}` is not a umask")).help("write three octal digits: `077`")
    })
}

/// `none`, or names between commas.
pub(super) fn env(word: &QuotedWord) -> Result<Vec<String>, RulesFault> {
    match word.text().as_str() {
        "none" => return Ok(Vec::new()),
        "PATH" => {
            let fault = RulesFault::new(word.span, "this has no effect: a command's PATH is its `exec_path`");
            return Err(fault.help("for the broker's own PATH, write `exec_path = inherit`"));
        }
        _ => {}
    }
    word.split(',').iter().map(|name| inherited(name, &name.text())).collect()
}

/// The variables of the service manager's protocols with the broker; with them a command could pose as the
/// broker.
const MANAGERS: [&str; 12] = [
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "FDSTORE",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "CREDENTIALS_DIRECTORY",
    "MEMORY_PRESSURE_WATCH",
];

/// Whether a variable is between the service manager and the broker.
pub(super) fn is_managers(name: &str) -> bool {
    MANAGERS.contains(&name)
}

fn inherited(word: &QuotedWord, name: &str) -> Result<String, RulesFault> {
    if matches!(name, "inherit" | "all" | "*" | "none") {
        let fault = RulesFault::new(word.span, format!("`{name}` names no variable"));
        return Err(
            fault.help("write the names that the command needs, with commas between them: `env = HOME,LANG`")
        );
    }
    if let Some(bare) = name.strip_prefix('$') {
        let bare = bare.trim_start_matches('{').trim_end_matches('}');
        let fault = RulesFault::new(word.span, format!("`{name}` is not a variable's name"));
        return Err(fault.help(format!("names stand without `$`: `{bare}`")));
    }
    if name.contains('=') {
        let fault = RulesFault::new(word.span, format!("`{name}` is a value, and `env` takes names"));
        return Err(fault.help(format!("write `setenv = {name}`")));
    }
    if is_managers(name) {
        let fault = RulesFault::new(word.span, format!("`{name}` is between systemd and the broker"));
        return Err(fault.help("no command gets it; leave it out"));
    }
    if name.contains(char::is_whitespace) {
        let names: Vec<_> = name.split_whitespace().collect();
        let fault = RulesFault::new(word.span, "names stand between commas, and these between blanks");
        return Err(fault.help(format!("write `{}`", names.join(","))));
    }
    env_name(word, name)
}

/// `NAME=value` words.
pub(super) fn setenv(
    words: &[QuotedWord],
    vars: &LoadVariables<'_>,
) -> Result<Vec<(String, String)>, RulesFault> {
    words.iter().map(|word| assignment(word, &vars.expand(word)?)).collect()
}

fn assignment(word: &QuotedWord, text: &str) -> Result<(String, String), RulesFault> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(RulesFault::new(word.span, "`setenv` takes NAME=value words, and this has no `=`")
            .help("quote a value with blanks in it: NAME='a b'"));
    };
    Ok((env_name(word, name)?, value.into()))
}

/// The name of a variable.
pub(super) fn env_name(word: &QuotedWord, name: &str) -> Result<String, RulesFault> {
    let good = |at: usize, ch: char| ch.is_ascii_alphabetic() || ch == '_' || (at > 0 && ch.is_ascii_digit());
    if !name.is_empty() && name.chars().enumerate().all(|(at, ch)| good(at, ch)) {
        return Ok(name.into());
    }
    if name.is_empty() {
        return Err(RulesFault::new(word.span, "a name is missing here"));
    }
    let fault = RulesFault::new(word.span, format!("`{name}` is not a variable's name"));
    Err(fault.help("names are letters, digits and `_`, and begin with no digit"))
}

/// A number of calls.
pub(super) fn calls(word: &QuotedWord) -> Result<u32, RulesFault> {
    let number = word.text().parse().ok().filter(|number| (1..=CALLS_MAX).contains(number));
    number.ok_or_else(|| RulesFault::new(word.span, format!("`max_calls` is a number from 1 to {CALLS_MAX}")))
}

/// A number of bytes with `K`, `M`, `G` or `T`, or `none`.
pub(super) fn capture_max(word: &QuotedWord) -> Result<CaptureMax, RulesFault> {
    let text = word.text();
    if text == "none" {
        return Ok(CaptureMax::Unlimited);
    }
    bytes(&text).filter(|bytes| *bytes > 0).map(CaptureMax::Bytes).ok_or_else(|| {
        let fault = RulesFault::new(word.span, format!("`{text}` is not a number of bytes above 0"));
        fault.help("write whole bytes, with K, M, G or T for powers of 1024: `64M`; or `none` for no limit")
    })
}

/// The words that other tools use for the choices.
const SYNONYMS: &[(&str, &[&str])] = &[
    ("null", &["none", "/dev/null", "no", "off", "empty", "closed"]),
    ("caller", &["inherit", "pass", "on", "yes"]),
    ("on", &["yes", "true", "1", "enabled"]),
    ("off", &["no", "false", "0", "none", "disabled", "never"]),
    ("yes", &["on", "true", "1", "disk", "always"]),
    ("no", &["off", "false", "0", "none", "never"]),
    ("log", &["on", "yes", "true", "1", "audit", "kernel"]),
    ("kill", &["end", "stop", "terminate", "no", "off"]),
    ("keep", &["ignore", "continue", "yes", "on"]),
    ("hide", &["no", "off", "none"]),
    ("pass", &["yes", "on", "caller"]),
    ("full", &["all", "yes", "on"]),
    ("exit-only", &["none", "off", "no"]),
    ("any", &["all", "full", "off", "no"]),
    ("default", &["yes", "on"]),
    ("private", &["own", "yes", "isolated", "new"]),
    ("shared", &["no", "host", "system"]),
    ("refuse", &["fail", "deny", "error", "require"]),
    ("degrade", &["ignore", "warn", "continue", "allow"]),
];

/// Parses a value that is one of a few words.
pub(super) fn choice<T: Copy + Debug>(
    word: &QuotedWord,
    choices: &[(&'static str, T)],
) -> Result<T, RulesFault> {
    let text = word.text();
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*choice);
    }
    let names: Vec<_> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
    let fault = RulesFault::new(word.span, format!("`{text}` is not one of {}", names.join(", ")));
    let meant = SYNONYMS.iter().filter(|(_, words)| words.contains(&text.to_ascii_lowercase().as_str()));
    let meant = meant.map(|(name, _)| *name).find(|name| choices.iter().any(|(choice, _)| choice == name));
    Err(match meant.or_else(|| nearest(&text, choices.iter().map(|(name, _)| *name))) {
        Some(name) => fault.help(format!("write `{name}`")),
        None => fault,
    })
}

#[cfg(test)]
mod tests {
    use super::super::lexer::LineTail;
    use super::super::variables::VariableValues;
    use super::super::word::SourceLine;
    use super::*;

    fn check<T: Debug + PartialEq>(
        parse: impl Fn(&QuotedWord) -> Result<T, RulesFault>,
        text: &str,
        want: Option<T>,
    ) {
        let word = LineTail::new(SourceLine { text, file: 0, number: 0 }, 0)
            .value()
            .ok()
            .flatten()
            .expect("a value");
        assert_eq!(parse(&word).ok(), want, "{text}");
    }

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        check(duration, "250ms", Some(Duration::from_millis(250)));
        check(duration, "30", Some(Duration::from_secs(30)));
        check(duration, "5m", Some(Duration::from_secs(300)));
        check(duration, "2h", Some(Duration::from_secs(7200)));
        for bad in ["", "s", "0", "-1", "1.5s", "1d", "1 s", "18446744073709551615h", "999999h"] {
            check(duration, &format!("'{bad}'"), None);
        }
    }

    #[test]
    fn a_umask_is_octal() {
        check(umask, "022", Some(0o022));
        check(umask, "0777", Some(0o777));
        for bad in ["8", "1000", "+22", "0o22", "''"] {
            check(umask, bad, None);
        }
    }

    #[test]
    fn a_capture_has_a_bound_or_none() {
        check(capture_max, "64M", Some(CaptureMax::Bytes(64 << 20)));
        check(capture_max, "1", Some(CaptureMax::Bytes(1)));
        check(capture_max, "none", Some(CaptureMax::Unlimited));
        for bad in ["0", "-1", "64MB", "1.5G", "infinity", "99999999999T"] {
            check(capture_max, bad, None);
        }
    }

    #[test]
    fn names_and_directories_are_lists() {
        check(env, "none", Some(vec![]));
        check(env, "HOME, _x1", Some(vec!["HOME".into(), "_x1".into()]));
        check(env, "HOME,,x", None);
        check(env, "1x", None);
        let vars = VariableValues { home: Some("/h:i".into()), runtime_dir: None };
        let parse = |word: &QuotedWord| exec_path(word, &LoadVariables::new(&vars));
        check(parse, "$HOME/bin:/bin", None);
        check(parse, "/usr/bin:/bin", Some(ExecPath::List(vec!["/usr/bin".into(), "/bin".into()])));
        check(parse, "inherit", Some(ExecPath::Inherit));
        check(parse, "/bin:", None);
        check(parse, "bin", None);
    }

    #[test]
    fn max_calls_has_bounds() {
        check(calls, "1", Some(1));
        check(calls, "0", None);
        check(calls, "4097", None);
    }
}
