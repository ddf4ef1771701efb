//! The result of a verification.

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
    /// Remarks on facts that prove nothing, and are no sign of a change either.
    pub remarks: Vec<VerifyRemark>,
}

/// The findings of one file.
#[derive(Debug)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// The number of its records.
    pub records: u64,
    /// The number of its records that the journal confirms.
    pub confirmed: u64,
    /// The number of lines that a crash tore, and that the record after them vouches for.
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
    /// Nothing was compared with the journal, for this reason.
    NoJournal(String),
    /// The journal lacks some of the records.
    NotInJournal {
        /// The number of records that it lacks.
        missing: u64,
        /// The number of all records.
        of: u64,
    },
    /// The journal has other records of this manifest, from other times than those of the files.
    OtherRecords {
        /// The number of these records.
        records: u64,
    },
    /// The journal has records of these files from a manifest in another place.
    OtherPlace {
        /// The number of these records.
        records: u64,
    },
    /// The journal has records of these files from another process than the broker, or from another program.
    OtherProcess {
        /// The number of these records.
        records: u64,
    },
    /// Calls that have no end: they run, or their broker was killed.
    OpenCalls(Vec<CallId>),
    /// Calls of which only the end is on record.
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

    /// The number of records in all files.
    pub fn records(&self) -> u64 {
        self.files.iter().map(|file| file.records).sum()
    }
}
