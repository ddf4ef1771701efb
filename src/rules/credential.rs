//! `credential = NAME as VARIABLE`: a secret that one rule's command gets, and no other. Rules name it; the
//! broker reads its content when a call is made.

use std::fmt;

use crate::limits::{CREDENTIAL_NAME_BYTES_MAX, RULE_CREDENTIALS_MAX};
use crate::text::quoted;

use super::fault::{RulesFault, SourceSpan};
use super::values;
use super::word::QuotedWord;

/// The directory of secrets in the home of the broker's user.
pub const CREDENTIALS_IN_HOME: &str = ".config/sluice/credentials";

/// A secret of a rule's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleCredential {
    /// The name of its file in the directory of credentials: one component of a path.
    pub name: Box<str>,
    /// The variable by which the command finds it.
    pub variable: Box<str>,
    /// What the variable holds.
    pub form: CredentialForm,
}

/// The form in which a command gets a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialForm {
    /// The variable holds the secret.
    Value,
    /// The variable holds the path of a file in memory that has the secret, `/proc/self/fd/N`.
    File,
}

/// The value of the line that names it.
impl fmt::Display for RuleCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.form {
            CredentialForm::Value => "as",
            CredentialForm::File => "as file",
        };
        write!(f, "{} {form} {}", quoted(&self.name), self.variable)
    }
}

/// A line of a rule that names a secret.
#[derive(Debug)]
pub(super) struct StatedCredential {
    credential: RuleCredential,
    variable: SourceSpan,
}

/// Parses `NAME as VARIABLE` and `NAME as file VARIABLE`.
pub(super) fn parse(words: &[QuotedWord]) -> Result<StatedCredential, RulesFault> {
    let name = checked_name(&words[0])?;
    let texts: Vec<_> = words.iter().map(QuotedWord::text).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    let (variable, form) = match &texts[..] {
        [_, "as", variable] if *variable != "file" => (&words[2], CredentialForm::Value),
        [_, "as", "file", _] => (&words[3], CredentialForm::File),
        _ => {
            let all = SourceSpan { end: words[words.len() - 1].span.end, ..words[0].span };
            let fault =
                RulesFault::new(all, "`credential` takes `NAME as VARIABLE` or `NAME as file VARIABLE`");
            let usual = usual_variable(&name);
            let help = format!("write `credential = {name} as {usual}`, or `{name} as file {usual}_FILE`");
            return Err(fault.help(help));
        }
    };
    let credential = RuleCredential { name: name.into(), variable: checked_variable(variable)?.into(), form };
    Ok(StatedCredential { credential, variable: variable.span })
}

/// The secrets of a rule that sets and inherits these variables, or its contradictions.
pub(super) fn of_rule(
    stated: &[StatedCredential],
    setenv: &[(String, String)],
    env: &[String],
) -> Result<Vec<RuleCredential>, Vec<RulesFault>> {
    let mut faults = Vec::new();
    for (at, one) in stated.iter().enumerate() {
        let variable = &*one.credential.variable;
        let is_same = |other: &&StatedCredential| other.credential.variable == one.credential.variable;
        let by = if stated[..at].iter().any(|other| is_same(&other)) {
            "another `credential`"
        } else if setenv.iter().any(|(name, _)| name == variable) {
            "`setenv`"
        } else if env.iter().any(|name| name == variable) {
            "`env`"
        } else {
            continue;
        };
        let fault = RulesFault::new(one.variable, format!("`{variable}` is set by {by} too"));
        faults.push(fault.help("keep one of the two, or name another variable"));
    }
    if let Some(one) = stated.get(RULE_CREDENTIALS_MAX) {
        faults.push(RulesFault::new(one.variable, format!("more than {RULE_CREDENTIALS_MAX} credentials")));
    }
    if faults.is_empty() {
        Ok(stated.iter().map(|one| one.credential.clone()).collect())
    } else {
        Err(faults)
    }
}

/// A name that a file, and a credential of systemd's, can have.
fn checked_name(word: &QuotedWord) -> Result<String, RulesFault> {
    let name = word.text();
    let fault = |message: String| Err(RulesFault::new(word.span, message));
    let is_good = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    if name.contains('=') {
        let text = "a secret does not stand in rules, which callers and records may show";
        return fault(text.into()).map_err(|fault| {
            fault.help("write it into a file, and here `NAME as VARIABLE`, NAME being the file's name")
        });
    }
    if name.contains('/') || [".", "..", ""].contains(&&*name) {
        let message = format!("{} is not the name of a credential", quoted(&name));
        return fault(message).map_err(|fault| {
            fault.help(
                "it is one file's name: systemd's LoadCredential=NAME:PATH, or a file in ~/.config/sluice/credentials",
            )
        });
    }
    if !name.bytes().all(is_good) {
        return fault(format!("{} is not the name of a credential", quoted(&name)))
            .map_err(|fault| fault.help("use letters, digits, and signs of ASCII without `:`"));
    }
    if name.len() > CREDENTIAL_NAME_BYTES_MAX {
        return fault(format!("a name of more than {CREDENTIAL_NAME_BYTES_MAX} bytes"));
    }
    Ok(name)
}

/// Variables that loaders, shells and interpreters obey, so that they would take a secret for an order.
const OBEYED: [&str; 31] = [
    "BASHOPTS",
    "BASH_ENV",
    "CDPATH",
    "DYLD_INSERT_LIBRARIES",
    "ENV",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "HOME",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "LOCPATH",
    "MALLOC_TRACE",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PATH",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PROMPT_COMMAND",
    "PS4",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RUBYLIB",
    "RUBYOPT",
    "SHELL",
    "SHELLOPTS",
    "TMPDIR",
    "TZ",
];

fn checked_variable(word: &QuotedWord) -> Result<String, RulesFault> {
    let name = values::env_name(word, &word.text())?;
    let is_obeyed = name.starts_with("LD_") || OBEYED.contains(&&*name);
    if is_obeyed || values::is_managers(&name) {
        let whose = if is_obeyed { "programs obey `" } else { "systemd has its own meaning for `" };
        let fault = RulesFault::new(word.span, format!("{whose}{name}`, so it can hold no secret"));
        return Err(fault.help("name the variable from which the program reads its secret: `GH_TOKEN`"));
    }
    Ok(name)
}

/// The name that a variable for this secret would usually have.
fn usual_variable(name: &str) -> String {
    let sign = |ch: char| if ch.is_ascii_alphanumeric() { ch.to_ascii_uppercase() } else { '_' };
    let usual: String = name.chars().map(sign).collect();
    if usual.starts_with(|ch: char| ch.is_ascii_digit()) { format!("_{usual}") } else { usual }
}
