//! The steps of `sluice init --for`: each can be done, done again without a change, and undone.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::files::{read, remove_empty, write_whole};

/// One thing to make.
#[derive(Debug)]
pub(super) enum InitStep {
    /// A copy of `sluicify` under another name. No link: codex follows one to the program's own name, and has
    /// no use for a program called that.
    Copy { path: PathBuf, of: PathBuf },
    /// A program of text.
    Script { path: PathBuf, text: String },
    /// A key in an object of a JSON file.
    JsonEntry { path: PathBuf, object: &'static str, key: String, value: Value },
    /// Lines in a text file, between two comments.
    Block { path: PathBuf, name: String, text: String },
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepOutcome {
    /// It was made.
    Made,
    /// It is there already.
    Stands,
    /// It was removed.
    Removed,
    /// There is nothing to remove.
    Absent,
    /// What is there was not made by this command, or was changed since: it stays.
    Left,
    /// Others of the gate use it: it stays.
    Kept,
}

impl fmt::Display for StepOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Made => "made",
            Self::Stands => "stands",
            Self::Removed => "removed",
            Self::Absent => "absent",
            Self::Left => "left",
            Self::Kept => "kept",
        })
    }
}

/// The mode of a file that is made anew, and of a program.
const FILE_MODE: u32 = 0o600;
const SCRIPT_MODE: u32 = 0o755;

impl InitStep {
    /// The file that it changes.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Copy { path, .. }
            | Self::Script { path, .. }
            | Self::JsonEntry { path, .. }
            | Self::Block { path, .. } => path,
        }
    }

    /// The thing, in a line.
    pub(super) fn shown(&self) -> String {
        let path = self.path().display();
        match self {
            Self::Copy { of, .. } => format!("{path} (a copy of {})", of.display()),
            Self::Script { .. } => path.to_string(),
            Self::JsonEntry { object, key, .. } => format!("{path}: {object}.{key}"),
            Self::Block { name, .. } => format!("{path}: [mcp_servers.{name}]"),
        }
    }

    /// Makes it. Errors: the file cannot be read or written, is no JSON object, or something else has its
    /// name.
    pub(super) fn apply(&self) -> io::Result<StepOutcome> {
        match self {
            Self::Copy { path, of } => {
                let program = fs::read(of)?;
                match copy_at(path)? {
                    Some(found) if found == program => Ok(StepOutcome::Stands),
                    Some(found) if !is_client(&found) => Err(taken()),
                    _ => write_whole(path, program, SCRIPT_MODE).map(|()| StepOutcome::Made),
                }
            }
            Self::Script { path, text } => match read(path)? {
                Some(found) if found == *text => Ok(StepOutcome::Stands),
                Some(found) if !is_ours(&found) => Err(taken()),
                _ => write_whole(path, text, SCRIPT_MODE).map(|()| StepOutcome::Made),
            },
            Self::JsonEntry { path, object, key, value } => {
                let mut whole = json(path)?;
                let entries = entries(&mut whole, object)?;
                match entries.get(key) {
                    Some(found) if serves_as(found, value) => return Ok(StepOutcome::Stands),
                    Some(found) if !is_own_entry(found, value) => return Err(taken_entry(key)),
                    Some(_) | None => {}
                }
                entries.insert(key.clone(), value.clone());
                write_json(path, &whole).map(|()| StepOutcome::Made)
            }
            Self::Block { path, name, text } => {
                let before = read(path)?.unwrap_or_default();
                let (mut rest, found) = without_block(&before, name);
                if found.as_deref().is_some_and(|found| block_serves_as(found, text)) {
                    return Ok(StepOutcome::Stands);
                }
                let is_taken = found.is_some_and(|found| !is_own_block(&found, text))
                    || text.lines().next().is_some_and(|header| has_table(&rest, header));
                if is_taken {
                    return Err(taken_entry(name));
                }
                if !rest.is_empty() && !rest.ends_with("\n\n") {
                    rest.push_str(if rest.ends_with('\n') { "\n" } else { "\n\n" });
                }
                rest.push_str(&block(name, text));
                write_whole(path, rest, FILE_MODE).map(|()| StepOutcome::Made)
            }
        }
    }

    /// Takes it away, where it is as it was made. Errors: the file cannot be read or written.
    pub(super) fn undo(&self) -> io::Result<StepOutcome> {
        match self {
            Self::Copy { path, .. } => match copy_at(path)? {
                None => Ok(StepOutcome::Absent),
                Some(found) if is_client(&found) => remove(path),
                Some(_) => Ok(StepOutcome::Left),
            },
            Self::Script { path, .. } => match read(path)? {
                None => Ok(StepOutcome::Absent),
                Some(found) if is_ours(&found) => remove(path),
                Some(_) => Ok(StepOutcome::Left),
            },
            Self::JsonEntry { path, object, key, value } => {
                if read(path)?.is_none() {
                    return Ok(StepOutcome::Absent);
                }
                let mut whole = json(path)?;
                let entries = entries(&mut whole, object)?;
                match entries.get(key) {
                    None => return Ok(StepOutcome::Absent),
                    Some(found) if !is_own_entry(found, value) => return Ok(StepOutcome::Left),
                    Some(_) => entries.shift_remove(key),
                };
                if entries.is_empty() {
                    whole.shift_remove(*object);
                }
                write_json(path, &whole).map(|()| StepOutcome::Removed)
            }
            Self::Block { path, name, text } => {
                let (rest, found) = without_block(&read(path)?.unwrap_or_default(), name);
                match found {
                    None => Ok(StepOutcome::Absent),
                    Some(found) if !is_own_block(&found, text) => Ok(StepOutcome::Left),
                    Some(_) => write_whole(path, rest, FILE_MODE).map(|()| StepOutcome::Removed),
                }
            }
        }
    }
}

fn taken_entry(name: &str) -> io::Error {
    io::Error::other(format!("its entry {name} was made or changed by somebody else: remove it first"))
}

fn taken() -> io::Error {
    io::Error::other("something else has this name: move it away first")
}

/// What stands in the place of a copy; `None` for nothing, and an empty file for a link, which no copy is.
fn copy_at(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => fs::read(path).map(Some),
        Ok(_) => Ok(Some(Vec::new())),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(source),
    }
}

/// Whether a file is `sluicify`, of whatever version: it has the first words of its help.
fn is_client(program: &[u8]) -> bool {
    let words = b"Has a command run outside of this sandbox, by the broker";
    program.starts_with(b"\x7fELF") && program.windows(words.len()).any(|found| found == words)
}

/// Removes a file, and the directories of this command's own that it leaves empty.
fn remove(path: &Path) -> io::Result<StepOutcome> {
    fs::remove_file(path)?;
    remove_empty(path);
    Ok(StepOutcome::Removed)
}

/// Whether a script was made by this command.
fn is_ours(script: &str) -> bool {
    script.lines().any(|line| line.starts_with("# Made by: sluice init "))
}

fn json(path: &Path) -> io::Result<Map<String, Value>> {
    let text = read(path)?.filter(|text| !text.trim().is_empty()).unwrap_or_else(|| "{}".to_owned());
    serde_json::from_str(&text).map_err(|why| io::Error::other(format!("it is no JSON object: {why}")))
}

fn entries<'m>(whole: &'m mut Map<String, Value>, object: &str) -> io::Result<&'m mut Map<String, Value>> {
    let entries = whole.entry(object).or_insert_with(|| Value::Object(Map::new()));
    entries.as_object_mut().ok_or_else(|| io::Error::other(format!("{object} in it is no object")))
}

fn write_json(path: &Path, whole: &Map<String, Value>) -> io::Result<()> {
    let text = serde_json::to_string_pretty(whole).map_err(io::Error::other)?;
    write_whole(path, format!("{text}\n"), FILE_MODE)
}

fn block(name: &str, text: &str) -> String {
    format!("# {name}: made by sluice init\n{text}# {name}: end\n")
}

/// A text without the block of this name, and the lines of the block; `None` where it has no whole one.
fn without_block(text: &str, name: &str) -> (String, Option<String>) {
    let (first, last) = (format!("# {name}: made by sluice init"), format!("# {name}: end"));
    let (mut rest, mut found, mut is_inside) = (String::new(), None::<String>, false);
    for line in text.split_inclusive('\n') {
        match line.trim_end() {
            end if is_inside && end == last => is_inside = false,
            start if start == first => {
                is_inside = true;
                found.get_or_insert_default();
            }
            _ if is_inside => found.get_or_insert_default().push_str(line),
            _ => rest.push_str(line),
        }
    }
    if is_inside { (text.to_owned(), None) } else { (rest, found) }
}

/// Whether an entry was made by this command, for whatever program and socket, and not changed since.
fn is_own_entry(found: &Value, made: &Value) -> bool {
    let mut found = found.clone();
    for place in ["/command", "/args/2"] {
        if let (Some(said @ Value::String(_)), Some(own)) = (found.pointer_mut(place), made.pointer(place)) {
            *said = own.clone();
        }
    }
    found == *made
}

/// Whether an entry does what the one that would be made does, whatever somebody added to it.
fn serves_as(found: &Value, made: &Value) -> bool {
    match (found, made) {
        (Value::Object(found), Value::Object(made)) => {
            made.iter().all(|(key, value)| found.get(key) == Some(value))
        }
        _ => found == made,
    }
}

/// Whether a block has the header, the program and the socket of the one that would be made, whatever
/// somebody changed besides.
fn block_serves_as(found: &str, made: &str) -> bool {
    let is_needed =
        |(place, line): &(usize, &str)| *place == 0 || FREE_LINES.iter().any(|it| line.starts_with(it));
    made.lines().enumerate().filter(is_needed).all(|(_, line)| found.lines().any(|it| it.trim_end() == line))
}

/// Whether the lines of a block were made by this command, for whatever program and socket, and not changed
/// since.
fn is_own_block(found: &str, made: &str) -> bool {
    let is_own = |(found, made): (&str, &str)| {
        let begin = |start: &&str| found.starts_with(start) && made.starts_with(start);
        found.trim_end() == made || FREE_LINES.iter().any(begin)
    };
    found.lines().count() == made.lines().count() && found.lines().zip(made.lines()).all(is_own)
}

/// The beginnings of the lines that name the program and the socket.
const FREE_LINES: [&str; 2] = ["command = \"", "args = [\"mcp\", \"--socket\", \""];

/// Whether a text of TOML has a table with this header, its names in quotes or not.
fn has_table(text: &str, header: &str) -> bool {
    let plain = |line: &str| line.split('#').next().unwrap_or_default().replace(['"', ' ', '\t'], "");
    text.lines().any(|line| plain(line) == header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, want: &str) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.toml");
        if !before.is_empty() {
            fs::write(&path, before).expect("written");
        }
        let step = InitStep::Block { path: path.clone(), name: "sluice-a".into(), text: "x = 1\n".into() };
        assert_eq!(step.apply().expect("made"), StepOutcome::Made);
        assert_eq!(fs::read_to_string(&path).expect("read"), want);
        assert_eq!(step.apply().expect("again"), StepOutcome::Stands);
        assert_eq!(step.undo().expect("undone"), StepOutcome::Removed);
        let after = fs::read_to_string(&path).expect("read");
        assert_eq!(after.trim_end(), before.trim_end());
        assert_eq!(step.undo().expect("again"), StepOutcome::Absent);
    }

    #[test]
    fn a_block_comes_and_goes_and_the_rest_stays() {
        let block = "# sluice-a: made by sluice init\nx = 1\n# sluice-a: end\n";
        check("", block);
        check("a = 1\n", &format!("a = 1\n\n{block}"));
        check("a = 1", &format!("a = 1\n\n{block}"));
    }

    #[test]
    fn a_block_without_its_end_is_nobodys() {
        let text = "# sluice-a: made by sluice init\nx = 1\n";
        assert_eq!(without_block(text, "sluice-a"), (text.into(), None));
    }

    #[test]
    fn a_block_that_was_changed_and_a_table_of_that_name_stay() {
        let made = "[mcp_servers.sluice-a]\ncommand = \"/x\"\nargs = [\"mcp\", \"--socket\", \"/s\"]\n";
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.toml");
        let step = |text: &str| {
            let name = "sluice-a".into();
            InitStep::Block { path: path.clone(), name, text: text.to_owned() }
        };
        let moved = made.replace("/x", "/y").replace("/s", "/t");
        assert_eq!(step(made).apply().expect("made"), StepOutcome::Made);
        assert_eq!(step(&moved).apply().expect("made anew"), StepOutcome::Made);
        assert_eq!(step(made).undo().expect("undone, wherever it was"), StepOutcome::Removed);
        let asked = block("sluice-a", &format!("{made}default_tools_approval_mode = \"prompt\"\n"));
        fs::write(&path, &asked).expect("written");
        assert_eq!(step(made).apply().expect("it serves"), StepOutcome::Stands);
        assert_eq!(step(made).undo().expect("looked at"), StepOutcome::Left);
        assert_eq!(fs::read_to_string(&path).expect("read"), asked);
        let changed = block("sluice-a", &made.replace("mcp\"", "mcp\", \"--more\""));
        for text in [&*changed, "[mcp_servers.sluice-a]\n", " [ mcp_servers.\"sluice-a\" ] # mine\n"] {
            fs::write(&path, text).expect("written");
            assert!(step(made).apply().is_err_and(|why| why.to_string().contains("somebody else")), "{text}");
            assert_ne!(step(made).undo().expect("looked at"), StepOutcome::Removed, "{text}");
            assert_eq!(fs::read_to_string(&path).expect("read"), text);
        }
    }

    #[test]
    fn an_entry_comes_and_goes_and_the_order_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("settings.json");
        let before = "{\n  \"z\": 1,\n  \"a\": {\n    \"y\": [\n      2\n    ]\n  }\n}\n";
        fs::write(&path, before).expect("written");
        let value = serde_json::json!({"command": "x"});
        let step =
            InitStep::JsonEntry { path: path.clone(), object: "mcpServers", key: "sluice-a".into(), value };
        assert_eq!(step.apply().expect("made"), StepOutcome::Made);
        assert!(fs::read_to_string(&path).expect("read").contains("\"sluice-a\""));
        assert_eq!(step.apply().expect("again"), StepOutcome::Stands);
        assert_eq!(step.undo().expect("undone"), StepOutcome::Removed);
        assert_eq!(fs::read_to_string(&path).expect("read"), before);
        let more = r#"{"mcpServers":{"sluice-a":{"command":"x","env":{}}}}"#;
        fs::write(&path, more).expect("written");
        assert_eq!(step.apply().expect("it serves"), StepOutcome::Stands);
        assert_eq!(step.undo().expect("looked at"), StepOutcome::Left);
        assert_eq!(fs::read_to_string(&path).expect("read"), more);
        for mine in
            [r#"{"mcpServers":{"sluice-a":{"command":"y","env":{}}}}"#, r#"{"mcpServers":{"sluice-a":1}}"#]
        {
            fs::write(&path, mine).expect("written");
            assert!(step.apply().is_err_and(|why| why.to_string().contains("somebody else")), "{mine}");
            assert_eq!(step.undo().expect("looked at"), StepOutcome::Left);
            assert_eq!(fs::read_to_string(&path).expect("read"), mine);
        }
        fs::write(&path, "[1]").expect("written");
        assert!(step.apply().is_err_and(|why| why.to_string().contains("no JSON object")));
        assert_eq!(fs::read_to_string(&path).expect("read"), "[1]");
    }
}
