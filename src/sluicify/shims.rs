//! A directory of links, one for each program that a socket allows: `git` there is this program, which calls
//! `git` through the broker of the environment.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::mkdir;

use crate::text::quoted;

use super::door::STAND_IN;
use super::json::JsonValue;

/// The beginning of this program's own names, which call no other program.
pub(super) const OWN_NAME: &str = "sluicify";

/// The programs of a listing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListedPrograms {
    /// Names that a link can have.
    names: SortedList<String>,
    /// Programs for which there is no link, and why.
    skipped: SortedList<(String, &'static str)>,
}

/// Values in their order, each once. A tenth of the standard library's sets in bytes of the program.
type SortedList<T> = Vec<T>;

fn put<T: Ord>(list: &mut SortedList<T>, value: T) {
    if let Err(place) = list.binary_search(&value) {
        list.insert(place, value);
    }
}

/// What was done in the directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ShimReport {
    /// A line for each link and each program.
    pub(super) lines: Vec<String>,
    /// Whether a link could not be made, because something else has its name.
    pub(super) is_incomplete: bool,
}

impl ListedPrograms {
    /// The programs in a listing as JSON; `None` where it is none.
    pub(super) fn parse(listing: &str) -> Option<Self> {
        let listing = JsonValue::parse(listing)?;
        let mut programs = Self { names: Vec::new(), skipped: Vec::new() };
        for rule in listing.get("rules")?.elements() {
            let program = rule.get("words")?.elements().first()?;
            match program.text() {
                Some(name) => programs.add(name),
                None => programs.skip(rule.get("command")?.text()?, "its program is a slot"),
            }
        }
        Some(programs)
    }

    fn add(&mut self, name: &str) {
        match name {
            name if name.contains('/') => {
                self.skip(name, "it is called by its path: a link gives a name alone")
            }
            "" | "." | ".." => self.skip(name, "no file can have this name"),
            STAND_IN => self.skip(name, "a link of this name is the stand-in for bubblewrap"),
            name if name.starts_with(OWN_NAME) => self.skip(name, "a link of this name is sluicify itself"),
            name => put(&mut self.names, name.to_owned()),
        }
    }

    fn skip(&mut self, program: &str, why: &'static str) {
        put(&mut self.skipped, (program.to_owned(), why));
    }
}

/// Makes the directory, if it is not there, and brings its links to what the listing says. `target` is this
/// program. Other files stay. Errors: of the directory, or of a link.
pub(super) fn make_links(
    directory: &Path,
    target: &Path,
    programs: &ListedPrograms,
) -> io::Result<ShimReport> {
    match mkdir(directory, Mode::from_bits_retain(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut report = ShimReport::default();
    for name in &programs.names {
        let done = make_link(&directory.join(name), target)?;
        report.is_incomplete |= done == "left alone: it is no link of sluicify's";
        report.lines.push(format!("{}: {done}", quoted(name)));
    }
    for name in own_links(directory)? {
        let is_made_here = name != STAND_IN && !name.starts_with(OWN_NAME);
        if is_made_here && !programs.names.contains(&name) {
            fs::remove_file(directory.join(&name))?;
            report.lines.push(format!("{}: removed, no rule has it any more", quoted(&name)));
        }
    }
    report
        .lines
        .extend(programs.skipped.iter().map(|(name, why)| format!("{}: no link, {why}", quoted(name))));
    Ok(report)
}

fn make_link(link: &Path, target: &Path) -> io::Result<&'static str> {
    match fs::symlink_metadata(link) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            symlink(target, link)?;
            Ok("made")
        }
        Err(error) => Err(error),
        Ok(_) if !is_own(link) => Ok("left alone: it is no link of sluicify's"),
        Ok(_) if fs::read_link(link)? == target => Ok("is there"),
        Ok(_) => {
            fs::remove_file(link)?;
            symlink(target, link)?;
            Ok("made anew: it pointed to another sluicify")
        }
    }
}

/// The names of the links in a directory that this command may have made.
fn own_links(directory: &Path) -> io::Result<SortedList<String>> {
    let mut links = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str())
            && is_own(&path)
        {
            put(&mut links, name.to_owned());
        }
    }
    Ok(links)
}

/// Whether this is a link to a file called like this program, there or not.
fn is_own(link: &Path) -> bool {
    let target = fs::read_link(link).unwrap_or_default();
    target.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(OWN_NAME.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(words: &[&str]) -> ListedPrograms {
        let rules: Vec<_> =
            words.iter().map(|word| format!("{{\"command\":\"c\",\"words\":[{word}]}}")).collect();
        ListedPrograms::parse(&format!("{{\"rules\":[{}]}}", rules.join(","))).expect("a listing")
    }

    #[test]
    fn what_a_link_cannot_call_is_left_out_with_a_reason() {
        let listed = programs(&[
            r#""git","push""#,
            r#""git""#,
            r#""/usr/bin/make""#,
            r#"{"slot":"x"}"#,
            r#""..""#,
            r#""bwrap""#,
            r#""sluicify""#,
        ]);
        assert_eq!(listed.names.iter().collect::<Vec<_>>(), ["git"]);
        let skipped: Vec<_> = listed.skipped.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(skipped, ["..", "/usr/bin/make", "bwrap", "c", "sluicify"]);
        assert_eq!(ListedPrograms::parse("git\n"), None);
    }

    #[test]
    fn links_follow_the_listing_and_other_files_stay() {
        let directory = tempfile::tempdir().expect("a directory");
        let (shims, target) = (directory.path().join("shims"), Path::new("/opt/sluicify"));
        let make = |words: &[&str]| make_links(&shims, target, &programs(words)).expect("an own directory");
        assert_eq!(make(&[r#""git""#, r#""make""#]).lines, ["git: made", "make: made"]);
        assert_eq!(fs::read_link(shims.join("git")).expect("a link"), target);
        fs::write(shims.join("cc"), "mine").expect("an own directory");
        symlink("/usr/bin/ld", shims.join("ld")).expect("an own directory");
        symlink("/old/sluicify-0.9", shims.join("ar")).expect("an own directory");
        symlink("/old/sluicify-0.9", shims.join("sluicify")).expect("an own directory");
        let report = make(&[r#""git""#, r#""cc""#, r#""ld""#, r#""ar""#]);
        assert_eq!(
            report.lines,
            [
                "ar: made anew: it pointed to another sluicify",
                "cc: left alone: it is no link of sluicify's",
                "git: is there",
                "ld: left alone: it is no link of sluicify's",
                "make: removed, no rule has it any more",
            ]
        );
        assert!(report.is_incomplete);
        assert_eq!(fs::read_to_string(shims.join("cc")).expect("it is there"), "mine");
        assert_eq!(make(&[]).lines.len(), 2, "ar, git");
        assert!(
            shims.join("sluicify").symlink_metadata().is_ok(),
            "a link of sluicify's own name is none of these"
        );
    }
}
