//! The kinds of records: the name of each in lines, and its id in the journal.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The kind of a record: the event that a line of a manifest, or its entry in the journal, tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A broker begins to write.
    Open,
    /// A command is about to run.
    Start,
    /// A call is over.
    Exit,
    /// The captures of an ended call, which its processes had gone on writing, are closed.
    Capture,
    /// Processes of an ended call outlived their broker, and were ended.
    Kept,
    /// A call that began in an earlier file goes on.
    Carried,
    /// A request was refused.
    Reject,
    /// A caller was given the listing.
    List,
    /// A call's broker ended before the call did.
    Lost,
    /// The rules were read again.
    Reload,
    /// The broker leaves.
    Close,
}

impl RecordKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Open,
        Self::Start,
        Self::Exit,
        Self::Capture,
        Self::Kept,
        Self::Carried,
        Self::Reject,
        Self::List,
        Self::Lost,
        Self::Reload,
        Self::Close,
    ];

    /// The kind of this name.
    pub fn of(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().as_bytes() == name)
    }

    /// Whether the name of a kind begins with these bytes.
    pub(in crate::audit) fn begins_with(name: &[u8]) -> bool {
        Self::ALL.iter().any(|kind| kind.name().as_bytes().starts_with(name))
    }

    /// The name in records and in the journal's field `SLUICE_KIND`.
    pub fn name(self) -> &'static str {
        self.name_and_id().0
    }

    /// The journal's `MESSAGE_ID`, 32 hexadecimal digits. Fixed for good: the catalog and people's filters
    /// know it.
    pub fn message_id(self) -> &'static str {
        self.name_and_id().1
    }

    fn name_and_id(self) -> (&'static str, &'static str) {
        match self {
            Self::Open => ("open", "7e30a8876d264a558e3d7d379dfcba9c"),
            Self::Start => ("start", "4cf1fe9ee9f94a90870485fb32a48806"),
            Self::Exit => ("exit", "eab01940a3634ccb81326df142e3a23d"),
            Self::Capture => ("capture", "36aeaaca463b4f0eb8d2c9f15f35ba6f"),
            Self::Kept => ("kept", "49f0a394f7f64ab3bde41f5a3ee10768"),
            Self::Carried => ("carried", "da0f7b92c7674f87b45e25b8a4acd5cb"),
            Self::Reject => ("reject", "2457eaa160c24f4585ca18d9d4a8a552"),
            Self::List => ("list", "6c4d09ddf3f54c75a64c3622e72c1189"),
            Self::Lost => ("lost", "031199993ffa483cb9e99400eb5e6cc6"),
            Self::Reload => ("reload", "478b98e24f674643990aed65f26bb3e4"),
            Self::Close => ("close", "7263cf80328a47c997d7b9de8da96bed"),
        }
    }

    /// Whether a record of this kind is the first of its call. An `exit` is the first if it names a socket:
    /// then no start was recorded (`log = exit-only`).
    pub(in crate::audit) fn begins(self, has_socket: bool) -> bool {
        match self {
            Self::Start | Self::Reject => true,
            Self::Exit => has_socket,
            Self::Open
            | Self::Capture
            | Self::Kept
            | Self::Carried
            | Self::List
            | Self::Lost
            | Self::Reload
            | Self::Close => false,
        }
    }
}

impl Serialize for RecordKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for RecordKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KindName;
        impl de::Visitor<'_> for KindName {
            type Value = RecordKind;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the kind of a record")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<RecordKind, E> {
                RecordKind::of(name.as_bytes()).ok_or_else(|| E::custom("no kind of record"))
            }
        }
        deserializer.deserialize_str(KindName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_as_it_is_written() {
        assert_eq!(RecordKind::Close as usize + 1, RecordKind::ALL.len());
        for (at, kind) in RecordKind::ALL.into_iter().enumerate() {
            assert_eq!((kind as usize, RecordKind::of(kind.name().as_bytes())), (at, Some(kind)));
            assert_eq!(kind.message_id().len(), 32);
        }
    }
}
