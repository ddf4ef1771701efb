//! Reads the top file and the files that it includes, through a [`RulesSource`] and in the order in which
//! their rules stand. Checks the limits on their size before anything is parsed. `parse.rs` parses the lines.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::limits::{INCLUDES_MAX, RULES_BYTES_MAX, RULES_LINE_BYTES_MAX, RULES_LINES_MAX};

use super::fault::{FaultReport, RulesFault, SourceSpan};
use super::lexer::LineTail;
use super::variables::LoadVariables;
use super::word::SourceLine;

/// The source of the text of rules files. The caller of [`load`](super::load()) does the I/O and checks who
/// may write the file.
pub trait RulesSource {
    /// The whole text of the file at this absolute path.
    fn read(&self, path: &Path) -> io::Result<String>;
}

/// Every file of one load.
#[derive(Debug, Default)]
pub(super) struct RulesFiles(Vec<RulesFile>);

#[derive(Debug)]
struct RulesFile {
    path: Arc<Path>,
    text: String,
    /// For each include, its line number, from 0, and the included file.
    includes: Vec<(usize, usize)>,
}

impl RulesFiles {
    /// Reads the file at `path` and all files that it includes. Problems go to the report; a file that cannot
    /// be read is kept as an empty one.
    pub(super) fn read(
        path: &Path,
        source: &dyn RulesSource,
        vars: &LoadVariables<'_>,
        report: &mut FaultReport,
    ) -> Self {
        let mut reader =
            IncludeReader { source, vars, report, files: Self::default(), open: Vec::new(), bytes: 0 };
        reader.file(path, None);
        reader.files
    }

    /// One file with this text, which includes none.
    pub(super) fn of_text(path: &str, text: &str) -> Self {
        Self(vec![RulesFile { path: Path::new(path).into(), text: text.into(), includes: Vec::new() }])
    }

    /// The path of a file.
    pub(super) fn path(&self, file: usize) -> &Arc<Path> {
        &self.0[file].path
    }

    /// Path and text of every file, in the order they were read.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<Path>, &str)> {
        self.0.iter().map(|file| (&file.path, file.text.as_str()))
    }

    /// The lines of a file.
    pub(super) fn lines(&self, file: usize) -> impl Iterator<Item = SourceLine<'_>> {
        self.0[file].text.lines().enumerate().map(move |(number, text)| SourceLine { text, file, number })
    }

    /// One line of a file.
    pub(super) fn line(&self, file: usize, number: usize) -> Option<&str> {
        self.0[file].text.lines().nth(number)
    }

    /// The file that is included by this line.
    pub(super) fn included(&self, line: &SourceLine<'_>) -> Option<usize> {
        let includes = &self.0[line.file].includes;
        includes.iter().find(|(number, _)| *number == line.number).map(|(_, file)| *file)
    }
}

/// Whether a line is `include PATH`.
pub(super) fn is_include(line: &SourceLine<'_>) -> bool {
    let rest = line.text.strip_prefix("include");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', ';']))
}

/// The path without `.` and, by the text alone, without `..`.
pub(super) fn normalized(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(clean.pop()),
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => clean.push(component),
        }
    }
    clean
}

struct IncludeReader<'a, 'v> {
    source: &'a dyn RulesSource,
    vars: &'a LoadVariables<'v>,
    report: &'a mut FaultReport,
    files: RulesFiles,
    /// The files whose includes are being read, from the top file down.
    open: Vec<PathBuf>,
    bytes: usize,
}

impl IncludeReader<'_, '_> {
    fn file(&mut self, path: &Path, included_at: Option<SourceSpan>) -> usize {
        let id = self.files.0.len();
        let text = self.source.read(path);
        let file = |text| RulesFile { path: path.into(), text, includes: Vec::new() };
        match text {
            Ok(text) => self.files.0.push(file(text)),
            Err(error) => {
                self.files.0.push(file(String::new()));
                let span = included_at.unwrap_or(SourceSpan { file: id, line: 0, start: 0, end: 0 });
                let message = format!("{} cannot be read: {error}", path.display());
                self.report.add(RulesFault::new(span, message));
            }
        }
        if let Err(fault) = self.check_size(id).and_then(|()| self.check_text(id)) {
            self.report.add(fault);
        }
        self.open.push(normalized(path));
        self.includes_of(id);
        self.open.pop();
        id
    }

    /// Checks a text's size, and empties a text that is over a limit, so that it costs no further work.
    fn check_size(&mut self, id: usize) -> Result<(), RulesFault> {
        let text = &mut self.files.0[id].text;
        self.bytes += text.len();
        let long = text.lines().take(RULES_LINES_MAX).position(|line| line.len() > RULES_LINE_BYTES_MAX);
        let (line, message) = if self.bytes > RULES_BYTES_MAX {
            (0, format!("more than {RULES_BYTES_MAX} bytes, includes counted"))
        } else if text.lines().nth(RULES_LINES_MAX).is_some() {
            (RULES_LINES_MAX, format!("more than {RULES_LINES_MAX} lines"))
        } else if let Some(line) = long {
            (line, format!("a line of more than {RULES_LINE_BYTES_MAX} bytes"))
        } else {
            return Ok(());
        };
        text.clear();
        Err(RulesFault::new(SourceSpan { file: id, line, start: 0, end: 0 }, message))
    }

    fn check_text(&self, id: usize) -> Result<(), RulesFault> {
        if self.files.0[id].text.starts_with('\u{feff}') {
            return Err(RulesFault::new(
                SourceSpan { file: id, line: 0, start: 0, end: 3 },
                "the file begins with a byte order mark",
            )
            .help("save it as plain UTF-8"));
        }
        for line in self.files.lines(id) {
            if let Some(at) = line.text.find('\0') {
                return Err(RulesFault::new(line.span(at, at + 1), "a NUL byte"));
            }
        }
        match self.files.lines(id).last().filter(|_| !self.files.0[id].text.ends_with('\n')) {
            Some(last) => Err(RulesFault::new(last.content(), "the file does not end in a newline")
                .help("it may have been cut short; check its end and add the newline")),
            None => Ok(()),
        }
    }

    fn includes_of(&mut self, id: usize) {
        let wanted: Vec<_> = self.files.lines(id).filter(is_include).map(|line| self.wanted(&line)).collect();
        for wanted in wanted {
            let Some((path, span)) = self.report.take(wanted) else { continue };
            if let Err(fault) = self.check_include(&path, span) {
                self.report.add(fault);
                continue;
            }
            let included = self.file(&path, Some(span));
            self.files.0[id].includes.push((span.line, included));
        }
    }

    fn wanted(&self, line: &SourceLine<'_>) -> Result<(PathBuf, SourceSpan), RulesFault> {
        let words = LineTail::new(*line, 0).words()?.words;
        let [_, path] = words.as_slice() else {
            let fault = RulesFault::new(line.content(), "`include` takes one path");
            return Err(fault.help("write `include PATH`; a program of this name is written 'include'"));
        };
        let parent = self.files.path(line.file).parent().unwrap_or(Path::new("/"));
        let joined = parent.join(self.vars.expand(path)?);
        Ok((normalized(&joined), path.span))
    }

    fn check_include(&self, path: &Path, span: SourceSpan) -> Result<(), RulesFault> {
        if self.open.iter().any(|open| open == path) {
            return Err(RulesFault::new(span, format!("{} includes itself", path.display())));
        }
        if self.files.0.len() > INCLUDES_MAX {
            return Err(RulesFault::new(span, format!("more than {INCLUDES_MAX} includes")));
        }
        Ok(())
    }
}
