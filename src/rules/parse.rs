//! Turns lines into stanzas: rules with their attributes and their comments. A rule line is split into words
//! here, an attribute's value is not: its form depends on its key.

use crate::limits::PROFILE_NAME_BYTES_MAX;
use crate::text::quoted;

use super::fault::{FaultReport, RulesFault, SourceSpan};
use super::files::{RulesFiles, is_include};
use super::lexer::{LineTail, LineWords};
use super::vocabulary;
use super::word::{QuotedWord, SourceLine};

/// The stanzas of all files, rules in the order in which they match.
#[derive(Debug, Default)]
pub(super) struct ParsedRules<'s> {
    /// The attributes under `defaults:`.
    pub(super) defaults: Vec<Attribute<'s>>,
    /// The rules.
    pub(super) rules: Vec<Stanza<'s>>,
    /// The profiles.
    pub(super) profiles: Vec<ProfileStanza<'s>>,
}

/// One profile as it is written.
#[derive(Debug)]
pub(super) struct ProfileStanza<'s> {
    /// The name behind `profile`.
    pub(super) name: String,
    /// The name's place, its colon included.
    pub(super) span: SourceSpan,
    /// The indented lines.
    pub(super) attributes: Vec<Attribute<'s>>,
}

/// One rule as it is written.
#[derive(Debug)]
pub(super) struct Stanza<'s> {
    /// The rule line's words; at least one.
    pub(super) words: Vec<QuotedWord>,
    /// The comment behind them, from its `;` on.
    pub(super) comment: Option<SourceSpan>,
    /// The comment lines directly above.
    pub(super) comments: Vec<&'s str>,
    /// The indented lines.
    pub(super) attributes: Vec<Attribute<'s>>,
}

/// `key = value`
#[derive(Debug)]
pub(super) struct Attribute<'s> {
    /// The key.
    pub(super) key: &'s str,
    /// The key's place.
    pub(super) span: SourceSpan,
    /// Everything behind the `=`.
    pub(super) value: LineTail<'s>,
}

impl Attribute<'_> {
    /// The place of its value, or of everything behind the `=`.
    pub(super) fn value_span(&self) -> SourceSpan {
        let value = self.value.value().ok().flatten();
        value.map_or_else(|| self.value.span(), |value| value.span)
    }
}

/// The stanzas of the top file, with those of included files in their places.
pub(super) fn parse<'s>(files: &'s RulesFiles, report: &mut FaultReport) -> ParsedRules<'s> {
    let mut parser = RulesParser {
        files,
        report,
        tree: ParsedRules::default(),
        above: IndentOwner::Nothing,
        comments: Vec::new(),
        defaults: None,
    };
    parser.file(0);
    parser.tree
}

/// The stanza that an indented line would belong to.
#[derive(Clone, Copy)]
enum IndentOwner {
    Nothing,
    Include,
    Defaults,
    Rule,
    Profile,
    /// A stanza that is already an error.
    Broken,
}

struct RulesParser<'s, 'r> {
    files: &'s RulesFiles,
    report: &'r mut FaultReport,
    tree: ParsedRules<'s>,
    above: IndentOwner,
    comments: Vec<&'s str>,
    /// The line of the first `defaults:`, from 1.
    defaults: Option<usize>,
}

impl<'s> RulesParser<'s, '_> {
    fn file(&mut self, file: usize) {
        let outer = std::mem::replace(&mut self.above, IndentOwner::Nothing);
        let files = self.files;
        for line in files.lines(file) {
            match line.text.trim_ascii_start() {
                "" => self.comments.clear(),
                comment if comment.starts_with(';') => self.comment(&line),
                rest if rest.len() < line.text.len() => self.indented(line),
                _ if is_include(&line) => self.include(&line),
                _ => self.header(line),
            }
        }
        self.comments.clear();
        self.above = outer;
    }

    fn comment(&mut self, line: &SourceLine<'s>) {
        let Some(comment) = line.text.strip_prefix(';') else { return self.comments.clear() };
        match comment.trim() {
            "" => {}
            comment => self.comments.push(comment),
        }
    }

    fn include(&mut self, line: &SourceLine<'s>) {
        self.comments.clear();
        if let Some(file) = self.files.included(line) {
            self.file(file);
        }
        self.above = IndentOwner::Include;
    }

    fn indented(&mut self, line: SourceLine<'s>) {
        self.comments.clear();
        let attribute = attribute(line);
        let Some(attribute) = self.report.take(attribute) else { return };
        match self.above {
            IndentOwner::Defaults => self.tree.defaults.push(attribute),
            IndentOwner::Rule => {
                self.tree.rules.last_mut().expect("a rule was opened").attributes.push(attribute)
            }
            IndentOwner::Profile => {
                self.tree.profiles.last_mut().expect("a profile was opened").attributes.push(attribute)
            }
            IndentOwner::Broken => {}
            IndentOwner::Nothing | IndentOwner::Include => {
                let fault = RulesFault::new(
                    line.content(),
                    "an indented line belongs to the stanza above, and there is none",
                );
                self.report.add(fault.help(
                    "write it under `defaults:`, a rule or a profile, or without the blanks before it",
                ));
            }
        }
    }

    fn header(&mut self, line: SourceLine<'s>) {
        let comments = std::mem::take(&mut self.comments);
        self.above = IndentOwner::Broken;
        let words = LineTail::new(line, 0).words().and_then(|words| checked(words, &line));
        let Some(LineWords { words, comment }) = self.report.take(words) else { return };
        if let Some(name) = profile_name(&words) {
            self.above = IndentOwner::Profile;
            let (name, span) = (name.trim_end_matches(':').to_owned(), words[1].span);
            return self.tree.profiles.push(ProfileStanza { name, span, attributes: Vec::new() });
        }
        if !is_defaults(&words) {
            self.above = IndentOwner::Rule;
            return self.tree.rules.push(Stanza { words, comment, comments, attributes: Vec::new() });
        }
        let Err(fault) = self.defaults_at(&line) else { return self.above = IndentOwner::Defaults };
        self.report.add(fault);
    }

    fn defaults_at(&mut self, line: &SourceLine<'_>) -> Result<(), RulesFault> {
        if line.file != 0 {
            return Err(RulesFault::new(line.content(), "only the top file may have `defaults:`"));
        }
        if let Some(first) = self.defaults.replace(line.number + 1) {
            return Err(RulesFault::new(
                line.content(),
                format!("`defaults:` stands on line {first} already"),
            )
            .help("put everything under one"));
        }
        Ok(())
    }
}

fn is_defaults(words: &[QuotedWord]) -> bool {
    !words[0].quoted && words[0].text() == "defaults:"
}

/// The word behind `profile`, with its colon, if the words open a profile.
fn profile_name(words: &[QuotedWord]) -> Option<String> {
    let [first, name] = words else { return None };
    let is_bare = !first.quoted && !name.quoted && first.text() == "profile";
    Some(name.text()).filter(|name| is_bare && name.ends_with(':'))
}

/// The words of a line that may be a rule, a profile or `defaults:`. A line that looks like another kind of
/// stanza is an error.
fn checked(words: LineWords, line: &SourceLine<'_>) -> Result<LineWords, RulesFault> {
    let [first, rest @ ..] = words.words.as_slice() else {
        return Err(RulesFault::new(line.content(), "no words"));
    };
    if first.quoted {
        return Ok(words);
    }
    let name = first.text();
    let is_colon = |word: &QuotedWord| !word.quoted && word.text() == ":";
    match (name.as_str(), rest) {
        ("defaults", rest) if rest.iter().all(is_colon) => Err(RulesFault::new(
            line.content(),
            "`defaults` has no colon, and would be a rule for a program of that name",
        )
        .help("write `defaults:`; for the program, write 'defaults'")),
        ("defaults:", [next, ..]) => {
            let fault = RulesFault::new(next.span, "nothing may follow `defaults:` on its line");
            Err(fault.help("attributes stand below it, indented; a comment begins with `;`"))
        }
        ("profile", rest) => profile_header(rest, line).map_or(Ok(words), Err),
        ("profile:", _) => {
            let fault = RulesFault::new(first.span, "a profile has a name");
            Err(fault.help("write `profile NAME:`"))
        }
        (name, []) if name != "defaults:" && name.ends_with(':') => {
            let help = match vocabulary::nearest(name, ["defaults:"]) {
                Some(nearest) => format!("write `{nearest}`"),
                None => format!(
                    "the stanzas are `defaults:`, `profile NAME:`, rules and `include PATH`; for a program, write '{name}'"
                ),
            };
            Err(RulesFault::new(first.span, format!("`{name}` is not a stanza")).help(help))
        }
        (name, [next, ..]) if !next.quoted && next.text() == "=" && vocabulary::is_attribute(name) => Err(
            RulesFault::new(first.span, format!("`{name}` is an attribute, and stands here as a program"))
                .help("indent the line; for a program of this name, quote the `=`"),
        ),
        _ => Ok(words),
    }
}

/// The problem of a line that begins with `profile`; `None` for a good profile, and for a program of this
/// name.
fn profile_header(rest: &[QuotedWord], line: &SourceLine<'_>) -> Option<RulesFault> {
    let [next, behind @ ..] = rest else { return None };
    let text = next.text();
    let (name, has_colon) = text.strip_suffix(':').map_or((&*text, false), |name| (name, true));
    let is_colon = |word: &QuotedWord| !word.quoted && word.text() == ":";
    let fault = |span, message: String, help: String| Some(RulesFault::new(span, message).help(help));
    match behind {
        _ if next.quoted => None,
        [colon] if is_colon(colon) && !has_colon => fault(
            colon.span,
            "the colon stands directly behind the name".into(),
            format!("write `profile {name}:`"),
        ),
        [] if !has_colon => fault(
            line.content(),
            format!("`profile {name}` has no colon, and would be a rule for a program named `profile`"),
            format!("write `profile {name}:`; for the program, write 'profile'"),
        ),
        _ if !has_colon => None,
        [extra, ..] => fault(
            extra.span,
            format!("nothing may follow `profile {name}:` on its line"),
            "keys stand below it, indented; a comment begins with `;`".into(),
        ),
        [] if !is_profile_name(name) => fault(
            next.span,
            format!("{} is no name for a profile", quoted(name)),
            "a name begins with a letter, and has letters, digits, `_`, `-` and `.`".into(),
        ),
        [] if name.len() > PROFILE_NAME_BYTES_MAX => {
            let message = format!("a profile's name of more than {PROFILE_NAME_BYTES_MAX} bytes");
            Some(RulesFault::new(next.span, message))
        }
        [] => None,
    }
}

fn is_profile_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    name.starts_with(|ch: char| ch.is_ascii_alphabetic()) && name.bytes().all(good)
}

/// The fix for an indented line without `=`. A line with a colon or a blank in the place of `=` is most
/// likely meant as an attribute.
fn without_sign(content: &str) -> String {
    let end = content.find([':', ' ', '\t']).unwrap_or(content.len());
    let (key, value) = (&content[..end], content[end..].trim_start_matches(':').trim_ascii());
    if vocabulary::is_attribute(key) || (content[end..].starts_with(':') && !value.is_empty()) {
        return format!("write `{key} = {}`", if value.is_empty() { "VALUE" } else { value });
    }
    "a rule or a stanza starts at the beginning of its line".into()
}

fn attribute(line: SourceLine<'_>) -> Result<Attribute<'_>, RulesFault> {
    let content = line.content();
    let Some((key, _)) = line.text[content.start..].split_once('=') else {
        let fault = RulesFault::new(content, "an indented line is `key = value`, and this has no `=`");
        return Err(fault.help(without_sign(&line.text[content.start..content.end])));
    };
    let after = content.start + key.len() + 1;
    let key = key.trim_ascii_end();
    if key.is_empty() {
        return Err(RulesFault::new(content, "no key before the `=`"));
    }
    Ok(Attribute {
        key,
        span: line.span(content.start, content.start + key.len()),
        value: LineTail::new(line, after),
    })
}
