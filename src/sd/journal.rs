//! Entries for the journal, in its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL). A [`JournalEntry`]
//! is made of fields; the text of one field cannot begin another. A send waits at most [`JOURNAL_SEND_MAX`].

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::UnixAddr;

use crate::limits::JOURNAL_SEND_MAX;

use super::datagram::{DatagramChannel, QueuePolicy};

/// The path of the journal's socket.
pub const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// The priority of an entry, as in syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// A loss, such as of records.
    Error,
    /// A state or an event that should not be.
    Warning,
    /// An event that an operator may look for.
    Notice,
    /// An everyday event.
    Info,
}

impl Priority {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "3",
            Self::Warning => "4",
            Self::Notice => "5",
            Self::Info => "6",
        }
    }
}

/// One entry as the journal's socket takes it: `NAME=value` lines; a value with a line break goes as `NAME`,
/// its length in 64 bits, little-endian, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry(Vec<u8>);

impl JournalEntry {
    /// An entry of the kind that `id` stands for, with a sentence for a person.
    pub fn new(id: &str, priority: Priority, message: &str) -> Self {
        let mut entry = Self(Vec::with_capacity(1024));
        entry.add("MESSAGE", message);
        entry.add("MESSAGE_ID", id);
        entry.add("PRIORITY", priority.as_str());
        entry.add("SYSLOG_IDENTIFIER", "sluice");
        entry
    }

    /// Adds a field. The name is one of ours: capital letters, digits and `_`.
    pub fn add(&mut self, name: &'static str, value: &str) {
        debug_assert!(
            name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        );
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }
}

/// A socket that sends to the journal.
#[derive(Debug)]
pub struct JournalSocket(DatagramChannel);

impl JournalSocket {
    /// A new socket. Whether the journal listens is not known before an entry is sent.
    pub fn new() -> io::Result<Self> {
        Ok(Self(DatagramChannel::new(UnixAddr::new(JOURNAL_SOCKET)?, JOURNAL_SEND_MAX)?))
    }

    /// Sends an entry. If the journal's queue is full, waits at most [`JOURNAL_SEND_MAX`], or with `hurry`
    /// not at all.
    pub fn send(&self, entry: &JournalEntry, hurry: bool) -> io::Result<()> {
        let patience = if hurry { QueuePolicy::None } else { QueuePolicy::Bounded };
        match self.0.send(&entry.0, None, patience) {
            Err(Errno::EMSGSIZE | Errno::ENOBUFS) => {
                Ok(self.0.send(&[], Some(&sealed(&entry.0)?), patience)?)
            }
            result => Ok(result?),
        }
    }

    /// Whether the journal would take an entry now. It passes over an empty message.
    pub fn probe(&self) -> io::Result<()> {
        Ok(self.0.send(&[], None, QueuePolicy::None)?)
    }
}

/// A sealed memfd, which no process can change, for an entry that is too large for a datagram.
fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(c"entry", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    file.write_all(bytes)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::all()))?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 4] = ["SLUICE_A", "SLUICE_B", "MESSAGE", "A1"];

    /// The fields of an entry, read as the journal reads them.
    fn decode(mut bytes: &[u8]) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let line = bytes.iter().position(|&byte| byte == b'\n').expect("a line ends");
            let Some(equals) = bytes[..line].iter().position(|&byte| byte == b'=') else {
                let (length, rest) = bytes[line + 1..].split_first_chunk().expect("a length");
                let length = usize::try_from(u64::from_le_bytes(*length)).expect("a length in memory");
                fields.push((text(&bytes[..line]), text(&rest[..length])));
                assert_eq!(rest[length], b'\n');
                bytes = &rest[length + 1..];
                continue;
            };
            fields.push((text(&bytes[..equals]), text(&bytes[equals + 1..line])));
            bytes = &bytes[line + 1..];
        }
        fields
    }

    fn entry(message: &str) -> JournalEntry {
        JournalEntry::new("0123", Priority::Notice, message)
    }

    proptest! {
        #[test]
        fn fields_in_are_fields_out(fields in prop::collection::vec((0..4_usize, any::<String>()), 0..8)) {
            let mut entry = JournalEntry(Vec::new());
            fields.iter().for_each(|(name, value)| entry.add(NAMES[*name], value));
            let want: Vec<_> = fields.into_iter().map(|(name, value)| (NAMES[name].to_owned(), value)).collect();
            prop_assert_eq!(decode(&entry.0), want);
        }
    }

    #[test]
    fn a_value_cannot_begin_another_field() {
        let fields = decode(&entry("a\nMESSAGE=fake\nPRIORITY=0\n").0);
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["MESSAGE", "MESSAGE_ID", "PRIORITY", "SYSLOG_IDENTIFIER"]);
        assert_eq!(fields[0].1, "a\nMESSAGE=fake\nPRIORITY=0\n");
    }

    fn journal(name: &str) -> (UnixDatagram, JournalSocket) {
        let name = format!("sluice-journal-{name}-{}", std::process::id());
        let bound = SocketAddr::from_abstract_name(&name).expect("a short name");
        let journal = UnixDatagram::bind_addr(&bound).expect("a name of our own");
        let address = UnixAddr::new_abstract(name.as_bytes()).expect("a short name");
        let socket = JournalSocket(DatagramChannel::new(address, JOURNAL_SEND_MAX).expect("a socket"));
        (journal, socket)
    }

    #[test]
    fn a_journal_that_does_not_read_holds_nobody_up() {
        let (_journal, socket) = journal("full");
        let since = Instant::now();
        assert!((0..100_000).any(|_| socket.send(&entry("x"), false).is_err()));
        assert!(socket.probe().is_err());
        assert!(since.elapsed() < 20 * JOURNAL_SEND_MAX);
    }

    #[test]
    fn an_entry_of_any_size_arrives() {
        let (journal, socket) = journal("large");
        let sent = entry(&"x".repeat(4 << 20));
        socket.send(&sent, false).expect("a memfd takes it");
        socket.send(&entry("small"), false).expect("it fits");
        socket.probe().expect("somebody listens");
        let mut message = [0; 256];
        let lengths = [(); 3].map(|()| journal.recv(&mut message).expect("a message"));
        assert_eq!(lengths, [0, entry("small").0.len(), 0]);
    }

    #[test]
    fn a_sealed_file_holds_the_bytes() {
        use std::io::{Read as _, Seek as _};
        let mut file = File::from(sealed(b"bytes").expect("a memfd"));
        let mut read = String::new();
        file.rewind().and_then(|()| file.read_to_string(&mut read)).expect("it is readable");
        assert_eq!(read, "bytes");
        assert!(file.write_all(b"more").is_err());
    }
}
