//! Why the descriptors of a request are unfit: a report of a few bytes, made by a process that may live in
//! another's memory, so only `Display` may allocate.

use std::fmt;

/// Why the descriptors of a request cannot be a command's stdin, stdout and stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnfitStdio {
    /// The number of descriptors, which is not three.
    Count(u8),
    /// The kernel could not deliver all descriptors.
    Cut,
    /// The descriptor of this index, counted from 0, is of a kind that is refused.
    Kind(u8, UnfitKind),
}

/// A kind of file that is refused as stdin, stdout or stderr. Only a regular file, a pipe, a character or
/// block device and a socket that does not listen are accepted; every other kind is refused, known or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnfitKind {
    /// A directory.
    Directory,
    /// A handle of a path (`O_PATH`).
    PathHandle,
    /// A socket that listens.
    Listener,
    /// A signalfd: reading it takes the signals of the reading process.
    Signalfd,
    /// A counter.
    Eventfd,
    /// An epoll set of watched descriptors.
    Epoll,
    /// Watches of files.
    Inotify,
    /// Watches of files.
    Fanotify,
    /// Queues of system calls.
    IoUring,
    /// A timer.
    Timerfd,
    /// The page faults of a process's memory.
    Userfaultfd,
    /// A process.
    Pidfd,
    /// A program or a map of the kernel's.
    Bpf,
    /// A counter of the processor's.
    PerfEvent,
    /// A namespace.
    Namespace,
    /// Any other file without a name in a file system.
    Anonymous,
    /// A type of file that is none of the above.
    Unknown,
    /// The type cannot be read.
    Unreadable,
    /// Not a pipe, where a pipe belongs (version 2).
    NoPipe,
    /// The end of a pipe that is read where the end belongs that is written, or the other way round.
    OtherEnd,
}

impl UnfitKind {
    const ALL: [Self; 20] = [
        Self::Directory,
        Self::PathHandle,
        Self::Listener,
        Self::Signalfd,
        Self::Eventfd,
        Self::Epoll,
        Self::Inotify,
        Self::Fanotify,
        Self::IoUring,
        Self::Timerfd,
        Self::Userfaultfd,
        Self::Pidfd,
        Self::Bpf,
        Self::PerfEvent,
        Self::Namespace,
        Self::Anonymous,
        Self::Unknown,
        Self::Unreadable,
        Self::NoPipe,
        Self::OtherEnd,
    ];

    /// The kind by the name that the kernel shows for a file without a path: `anon_inode:[eventfd]`, or
    /// `anon_inode:inotify`.
    pub(super) fn of_link(link: &[u8]) -> Self {
        let Some(name) = link.strip_prefix(b"anon_inode:") else {
            let is_process = link.starts_with(b"pidfd:");
            return if is_process { Self::Pidfd } else { Self::Anonymous };
        };
        match name.strip_prefix(b"[").and_then(|name| name.strip_suffix(b"]")).unwrap_or(name) {
            b"signalfd" => Self::Signalfd,
            b"eventfd" => Self::Eventfd,
            b"eventpoll" => Self::Epoll,
            b"inotify" => Self::Inotify,
            b"fanotify" => Self::Fanotify,
            b"io_uring" => Self::IoUring,
            b"timerfd" => Self::Timerfd,
            b"userfaultfd" => Self::Userfaultfd,
            b"pidfd" => Self::Pidfd,
            b"perf_event" => Self::PerfEvent,
            name if name.starts_with(b"bpf") => Self::Bpf,
            _ => Self::Anonymous,
        }
    }
}

impl fmt::Display for UnfitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "a directory",
            Self::PathHandle => "a path handle (O_PATH)",
            Self::Listener => "a listening socket",
            Self::Signalfd => "a signalfd",
            Self::Eventfd => "an eventfd",
            Self::Epoll => "an epoll",
            Self::Inotify => "an inotify",
            Self::Fanotify => "a fanotify",
            Self::IoUring => "an io_uring",
            Self::Timerfd => "a timerfd",
            Self::Userfaultfd => "a userfaultfd",
            Self::Pidfd => "a pidfd",
            Self::Bpf => "a bpf object",
            Self::PerfEvent => "a perf event",
            Self::Namespace => "a namespace",
            Self::Anonymous => "no file, pipe, device or socket",
            Self::Unknown => "of an unknown type",
            Self::Unreadable => "of a type that cannot be read",
            Self::NoPipe => "not a pipe",
            Self::OtherEnd => "the other end of a pipe",
        })
    }
}

impl UnfitStdio {
    /// Bytes of its report.
    pub const BYTES: usize = 3;

    /// Shape: 1, 2 or 3 for the variant, its index or count, the oddity's place in [`UnfitKind::ALL`]. Never
    /// 0 first.
    pub fn encode(self) -> [u8; Self::BYTES] {
        match self {
            Self::Count(count) => [1, count, 0],
            Self::Cut => [2, 0, 0],
            Self::Kind(index, oddity) => {
                let place = UnfitKind::ALL.iter().position(|other| *other == oddity).unwrap_or_default();
                [3, index, u8::try_from(place).unwrap_or_default()]
            }
        }
    }

    /// The reverse of [`Self::encode`]; `None` for other bytes.
    pub fn decode(report: [u8; Self::BYTES]) -> Option<Self> {
        match report {
            [1, count, 0] => Some(Self::Count(count)),
            [2, 0, 0] => Some(Self::Cut),
            [3, index, place] => Some(Self::Kind(index, *UnfitKind::ALL.get(usize::from(place))?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let mut all = vec![UnfitStdio::Count(0), UnfitStdio::Count(8), UnfitStdio::Cut];
        all.extend(UnfitKind::ALL.map(|oddity| UnfitStdio::Kind(2, oddity)));
        for unfit in all {
            assert_eq!(UnfitStdio::decode(unfit.encode()), Some(unfit));
        }
        assert_eq!(UnfitStdio::decode([0; UnfitStdio::BYTES]), None);
    }
}
