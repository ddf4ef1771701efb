//! What a test can look at while its broker runs: paths, records, words on stderr, descriptors and threads.

use std::path::{Path, PathBuf};

use super::broker::Broker;
use super::manifest::{self, Record};
use super::process::Pid;
use super::wait::{SOON, found};

impl Broker {
    /// Its pid.
    pub(crate) fn pid(&self) -> Pid {
        self.process().pid()
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Path {
        self.setup.dir().path()
    }

    /// Its rules file.
    pub(crate) fn rules_path(&self) -> PathBuf {
        self.setup.rules_path()
    }

    /// The text of its rules file.
    pub(crate) fn rules(&self) -> &str {
        self.setup.text()
    }

    /// Its socket; under the activator, the first.
    pub(crate) fn socket(&self) -> PathBuf {
        self.setup.socket()
    }

    /// The activator's socket of this name.
    pub(crate) fn socket_of(&self, name: &str) -> PathBuf {
        self.setup.socket_of(name)
    }

    /// Where the manifest is, unless the rules say otherwise.
    pub(crate) fn manifest_path(&self) -> PathBuf {
        self.dir().join("audit/manifest.jsonl")
    }

    /// Every record so far.
    pub(crate) fn records(&self) -> Vec<Record> {
        manifest::read(&self.manifest_path())
    }

    /// The records of this pattern.
    pub(crate) fn records_of(&self, pattern: &str) -> Vec<Record> {
        self.records().into_iter().filter(|record| record.is(pattern)).collect()
    }

    /// The first record of this pattern, which is there or comes soon.
    #[track_caller]
    pub(crate) fn record(&self, pattern: &str) -> Record {
        let record = found(SOON, || self.records_of(pattern).into_iter().next());
        record.unwrap_or_else(|| panic!("no record of {pattern:?}{}", self.transcript(0)))
    }

    /// All that it said on stderr by now.
    pub(crate) fn said(&self) -> String {
        self.process().stderr.text()
    }

    /// A line on its stderr that holds this, said already or soon.
    #[track_caller]
    pub(crate) fn says(&self, part: &str) -> String {
        let line = self.process().stderr.line_with(part, 0, SOON);
        line.unwrap_or_else(|| panic!("it does not say {part:?}{}", self.transcript(0)))
    }

    /// How many descriptors it has open; `None` where it hides them from us.
    pub(crate) fn descriptors(&self) -> Option<usize> {
        self.pid().descriptors()
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> u64 {
        self.pid().status("Threads").expect("a running process has threads")
    }

    /// The launchers that wait for a call, each of which it has a few descriptors of.
    fn launchers(&self) -> usize {
        let below = self.pid().descendants().into_iter();
        below.filter(|pid| pid.command_line().starts_with("sluice nursery")).count()
    }

    /// Its descriptors and threads come back to what they were, but for a few that it may keep ready.
    #[track_caller]
    pub(crate) fn comes_back_to(&self, descriptors: Option<usize>, threads: u64) {
        let calm = || {
            let spare = 8 + 3 * self.launchers();
            let few =
                descriptors.is_none_or(|before| self.descriptors().is_some_and(|now| now <= before + spare));
            few && self.threads() <= threads + 4
        };
        if found(SOON, || calm().then_some(())).is_none() {
            panic!(
                "descriptors {descriptors:?} -> {:?}, threads {threads} -> {}",
                self.descriptors(),
                self.threads()
            );
        }
    }

    /// Rules, records from the `from`th on, and stderr: what a failing test shows.
    pub(crate) fn transcript(&self, from: usize) -> String {
        let records = self.records();
        let audit: Vec<_> = records.iter().skip(from).take(40).map(ToString::to_string).collect();
        let stderr = self.process.as_ref().map(|process| process.stderr.text()).unwrap_or_default();
        format!("\n--- rules\n{}\n--- audit\n{}\n--- broker\n{stderr}", self.rules(), audit.join("\n"))
    }
}
