//! What became of a verification.

use std::path::PathBuf;

use crate::ids::CallId;

use super::finding::{ChainFinding, LinePlace};

/// The findings of all files.
#[derive(Debug)]
pub struct VerifyReport {
    /// Each file, in the order of the chain as far as there is one.
    pub files: Vec<FileReport>,
    /// How many calls have a number on record.
    pub calls: u64,
    /// Remarks: what cannot be proved, and is no sign of a change either.
    pub remarks: Vec<VerifyRemark>,
}

/// The findings of one file.
#[derive(Debug)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Its records.
    pub records: u64,
    /// How many of them the journal has just so.
    pub confirmed: u64,
    /// Lines that a crash tore, and that the record after them vouches for.
    pub torn: u64,
    /// The first line that does not fit, and why.
    pub finding: Option<(u64, ChainFinding)>,
}

/// A remark on a manifest that fits.
#[derive(Debug, PartialEq, Eq)]
pub enum VerifyRemark {
    /// The chain begins in a file that was not given.
    EarlierElsewhere(PathBuf),
    /// The chain goes on in a file that was not given.
    LaterElsewhere(PathBuf),
    /// Nothing was compared with the journal, and why.
    NoJournal(String),
    /// The journal does not have these many of the records.
    NotInJournal {
        /// How many it lacks.
        missing: u64,
        /// Of how many.
        of: u64,
    },
    /// The journal has as many other records of this manifest, of other times.
    OtherRecords {
        /// How many.
        records: u64,
    },
    /// The journal has records of these files as of a manifest in another place.
    OtherPlace {
        /// How many.
        records: u64,
    },
    /// The journal has records of these files from another process than the broker, or from another program.
    OtherProcess {
        /// How many.
        records: u64,
    },
    /// Calls that have no end: they run, or their broker was killed.
    OpenCalls(Vec<CallId>),
    /// Calls that have an end only.
    BareEnds(Vec<CallId>),
}

impl VerifyReport {
    /// The first line that does not fit.
    pub fn finding(&self) -> Option<(LinePlace, &ChainFinding)> {
        self.files.iter().find_map(|file| {
            let (line, finding) = file.finding.as_ref()?;
            Some((LinePlace { file: file.path.clone(), line: *line }, finding))
        })
    }

    /// The records of all files.
    pub fn records(&self) -> u64 {
        self.files.iter().map(|file| file.records).sum()
    }
}
