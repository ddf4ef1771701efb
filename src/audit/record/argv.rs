//! Parts that several records share: the caller, and the words and paths of its request.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::limits::RECORD_ARGV_BYTES_MAX;
use crate::sys::Sender;

/// The process that sent a request, its user and group.
#[derive(Clone, Debug, Serialize)]
pub struct Caller {
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    connector: Option<i32>,
    /// The way of a request whose process is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    door: Option<&'static str>,
}

impl Caller {
    /// The sender of the request, and the process that connected, where that is another one. A process that
    /// this pid namespace does not have has the number 0 for the kernel, and none here.
    pub fn new(sender: Sender, connector: Option<Sender>) -> Self {
        let known = |pid: i32| Some(pid).filter(|pid| *pid > 0);
        let connector = connector.and_then(|connector| known(connector.pid));
        let pid = known(sender.pid);
        let connector = connector.filter(|_| connector != pid);
        Self { pid, uid: sender.uid, gid: sender.gid, connector, door: None }
    }

    /// A caller through a FIFO. Which process wrote is not known, and its user is the one whose FIFO it is.
    pub fn through_fifo(door: Sender) -> Self {
        Self { pid: None, uid: door.uid, gid: door.gid, connector: None, door: Some("fifo") }
    }

    /// The process that sent the request, where this pid namespace has it.
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// The user of that process.
    pub fn uid(&self) -> u32 {
        self.uid
    }
}

/// An argument list as records show it: whole, or cut with its length and hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(super) struct RecordedArgv {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    argv: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    argv_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    argv_sha256: Option<String>,
}

impl RecordedArgv {
    pub(in crate::audit) fn new<'w>(words: impl Iterator<Item = &'w str> + Clone) -> Self {
        let (argv, cut) = kept(words);
        let (argv_bytes, argv_sha256) = cut.unzip();
        Self { argv, argv_bytes, argv_sha256 }
    }
}

/// The places that paths of an argument list lead to, whole or cut in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::audit) struct RecordedPaths {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    paths: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths_sha256: Option<String>,
}

impl RecordedPaths {
    pub(in crate::audit) fn new(paths: &[&str]) -> Self {
        let (paths, cut) = kept(paths.iter().copied());
        let (paths_bytes, paths_sha256) = cut.unzip();
        Self { paths, paths_bytes, paths_sha256 }
    }

    /// The paths that are kept.
    pub(in crate::audit) fn kept(&self) -> &[String] {
        &self.paths
    }
}

/// The words that a record has room for; where words are cut, also the length and hash of all of them.
fn kept<'w>(words: impl Iterator<Item = &'w str> + Clone) -> (Vec<String>, Option<(usize, String)>) {
    let bytes = words.clone().map(|word| word.len() + 1).sum::<usize>();
    if bytes <= RECORD_ARGV_BYTES_MAX {
        return (words.map(str::to_owned).collect(), None);
    }
    let mut room = RECORD_ARGV_BYTES_MAX;
    let kept = words.clone().map_while(|word| keep(word, &mut room)).collect();
    let mut hash = Sha256::new();
    for word in words {
        hash.update(word);
        hash.update([0]);
    }
    (kept, Some((bytes, format!("{:x}", hash.finalize()))))
}

impl RecordedArgv {
    /// The words that are kept.
    pub(in crate::audit) fn argv(&self) -> &[String] {
        &self.argv
    }

    /// The bytes of all words, each with one byte after it, where some were cut.
    pub(super) fn cut_bytes(&self) -> Option<usize> {
        self.argv_bytes
    }
}

/// The part of `word` that there is room for; `None` when there is no room.
fn keep(word: &str, room: &mut usize) -> Option<String> {
    let end = word.floor_char_boundary(*room);
    let kept = (*room > 0).then(|| word[..end].to_owned());
    *room = room.saturating_sub(word.len() + 1);
    kept
}
