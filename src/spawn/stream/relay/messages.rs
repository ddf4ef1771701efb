//! The messages between a call and its relay, on a `SOCK_SEQPACKET` pair: the call sends a task, then orders;
//! the relay reports the state of its streams. All integers are little-endian.

use std::time::Duration;

use crate::audit::CapturedBytes;
use crate::limits::REQUEST_FDS;
use crate::rules::{AuditMode, StdinMode, TtyMode};
use crate::sys::UnfitStdio;
use crate::wire::{Malformed, MessageReader};

/// A relay's task. Its message brings the connection on which the caller's descriptors wait, the launcher's
/// stream, and the captures' files in the order of their streams.
///
/// Shape: `u32` 1 where a failed capture ends the call, `u32` 1 where terminals are hidden, `u32` 1 where
/// stdin is `/dev/null`, and of each stream `u64`, the
/// most bytes of its capture, or 0 where it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TaskMessage {
    pub(super) audit: AuditMode,
    pub(super) tty: TtyMode,
    pub(super) stdin: StdinMode,
    pub(super) captures: [Option<u64>; REQUEST_FDS],
}

/// Bytes of a [`TaskMessage`].
pub(super) const TASK_BYTES: usize = 12 + 8 * REQUEST_FDS;

impl TaskMessage {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(TASK_BYTES);
        bytes.extend(u32::from(self.audit == AuditMode::Strict).to_le_bytes());
        bytes.extend(u32::from(self.tty == TtyMode::Hide).to_le_bytes());
        bytes.extend(u32::from(self.stdin == StdinMode::Null).to_le_bytes());
        self.captures.iter().for_each(|max| bytes.extend(max.unwrap_or(0).to_le_bytes()));
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = MessageReader::new(bytes);
        let audit = if reader.u32()? == 1 { AuditMode::Strict } else { AuditMode::BestEffort };
        let tty = if reader.u32()? == 1 { TtyMode::Hide } else { TtyMode::Pass };
        let stdin = if reader.u32()? == 1 { StdinMode::Null } else { StdinMode::Caller };
        let mut captures = [None; REQUEST_FDS];
        for max in &mut captures {
            *max = Some(number(&mut reader)?).filter(|max| *max > 0);
        }
        reader.end()?;
        Ok(Self { audit, tty, stdin, captures })
    }
}

/// A call's order to its relay.
///
/// Shape: `u32` 0 or 1, or 2 with `u64`, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RelayOrder {
    /// Move bytes as they come.
    Flow,
    /// Move bytes as they come, and report when all bytes that were written so far have been delivered.
    Settle,
    /// Move the bytes that can be moved in this time without waiting long, then end.
    Finish(Duration),
}

/// Most bytes of an [`RelayOrder`].
pub(super) const ORDER_BYTES_MAX: usize = 12;

impl RelayOrder {
    pub(super) fn encode(self) -> Vec<u8> {
        match self {
            Self::Flow => 0u32.to_le_bytes().into(),
            Self::Settle => 1u32.to_le_bytes().into(),
            Self::Finish(left) => {
                let left = u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
                [&2u32.to_le_bytes()[..], &left.to_le_bytes()].concat()
            }
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = MessageReader::new(bytes);
        let order = match reader.u32()? {
            0 => Self::Flow,
            1 => Self::Settle,
            _ => Self::Finish(Duration::from_micros(number(&mut reader)?)),
        };
        reader.end()?;
        Ok(order)
    }
}

/// A relay's report to its call.
///
/// Shape: `u32` 0 and `i32` errno; `u32` 1, `i32` pid and `u32` 1 or 0, with the pidfd; `u32` 2 and
/// [`StreamNews`]; `u32` 3 and [`UnfitStdio`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RelayReport {
    /// No relay could begin, for this errno, and the launcher has no descriptors.
    Failed(i32),
    /// The relay was made, and has sent the launcher the command's stdin, stdout and stderr.
    Equipped {
        pid: i32,
        /// Whether the relay is in the call's cgroup.
        is_inside: bool,
    },
    /// The present state of the streams.
    News(StreamNews),
    /// The caller's descriptors are not fit for a command.
    Unfit(UnfitStdio),
}

/// Most bytes of a [`RelayReport`].
pub(super) const WORD_BYTES_MAX: usize = 4 + 12 + 8 * (REQUEST_FDS + 1);

impl RelayReport {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(WORD_BYTES_MAX);
        match self {
            Self::Failed(errno) => [0, errno].iter().for_each(|number| bytes.extend(number.to_le_bytes())),
            Self::Equipped { pid, is_inside } => {
                [1, pid, is_inside.into()].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
            }
            Self::News(news) => {
                bytes.extend(2u32.to_le_bytes());
                news.encode(&mut bytes);
            }
            Self::Unfit(unfit) => {
                bytes.extend(3u32.to_le_bytes());
                bytes.extend(unfit.encode());
            }
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = MessageReader::new(bytes);
        let word = match reader.u32()? {
            0 => Self::Failed(reader.u32()?.cast_signed()),
            1 => Self::Equipped { pid: reader.u32()?.cast_signed(), is_inside: reader.u32()? == 1 },
            2 => Self::News(StreamNews::decode(&mut reader)?),
            _ => {
                let report = reader.bytes(UnfitStdio::BYTES)?.try_into().map_err(|_| Malformed::Truncated)?;
                Self::Unfit(UnfitStdio::decode(report).ok_or(Malformed::Truncated)?)
            }
        };
        reader.end()?;
        Ok(word)
    }
}

/// The state of the streams. Each message has the whole state.
///
/// Shape: `u32` bits in the order of the fields, from the lowest; the failure as `u32` descriptor and `u32`
/// errno (0: none); of each stream `u64` bytes, all ones where it has no capture; `u64` bytes of stdin that
/// were left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamNews {
    /// All bytes that were written when the call asked have been delivered.
    pub(super) is_calm: bool,
    /// The relay ends: this is its last report.
    pub(super) is_over: bool,
    /// A stream was still open, or had bytes not delivered, when the relay ended.
    pub(super) is_cut: bool,
    /// The call is to end, because a capture failed without which no byte may pass, or the relay failed.
    pub(super) is_lost: bool,
    /// The first capture that failed, by its descriptor, and why.
    pub(super) failure: Option<(usize, i32)>,
    pub(super) captured: CapturedBytes,
}

impl StreamNews {
    fn encode(self, bytes: &mut Vec<u8>) {
        let bits = [self.is_calm, self.is_over, self.is_cut, self.is_lost, self.captured.truncated];
        let bits = bits.iter().rev().fold(0u32, |bits, bit| (bits << 1) | u32::from(*bit));
        let (index, errno) = self.failure.unwrap_or_default();
        bytes.extend(bits.to_le_bytes());
        bytes.extend(u32::try_from(index).unwrap_or_default().to_le_bytes());
        bytes.extend(errno.to_le_bytes());
        self.captured.bytes.iter().for_each(|held| bytes.extend(held.unwrap_or(u64::MAX).to_le_bytes()));
        bytes.extend(self.captured.stdin_unread.to_le_bytes());
    }

    fn decode(reader: &mut MessageReader<'_>) -> Result<Self, Malformed> {
        let bits = reader.u32()?;
        let is = |place: u32| bits & (1 << place) != 0;
        let (index, errno) = (reader.u32()?, reader.u32()?.cast_signed());
        let index = usize::try_from(index).map_err(|_| Malformed::Truncated)?;
        let mut captured = CapturedBytes { truncated: is(4), ..CapturedBytes::default() };
        for held in &mut captured.bytes {
            *held = Some(number(reader)?).filter(|held| *held != u64::MAX);
        }
        captured.stdin_unread = number(reader)?;
        let failure = (errno != 0).then_some((index, errno));
        Ok(Self { is_calm: is(0), is_over: is(1), is_cut: is(2), is_lost: is(3), failure, captured })
    }
}

fn number(reader: &mut MessageReader<'_>) -> Result<u64, Malformed> {
    let (low, high) = (reader.u32()?, reader.u32()?);
    Ok(u64::from(high) << 32 | u64::from(low))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_said_is_heard(
            bits in any::<[bool; 5]>(),
            failure in prop::option::of((0usize..3, 1i32..200)),
            held in any::<[Option<u32>; 3]>(),
            number in any::<u32>(),
        ) {
            let bytes = held.map(|held| held.map(u64::from));
            let [is_calm, is_over, is_cut, is_lost, truncated] = bits;
            let captured =
                CapturedBytes { bytes, truncated, stdin_unread: u64::from(number) << 20, ..CapturedBytes::default() };
            let errno = number.cast_signed();
            let news = StreamNews { is_calm, is_over, is_cut, is_lost, failure, captured };
            let equipped = RelayReport::Equipped { pid: errno, is_inside: is_calm };
            for word in [RelayReport::News(news), RelayReport::Failed(errno), equipped, RelayReport::Unfit(UnfitStdio::Count(4))] {
                let said = word.encode();
                prop_assert!(said.len() <= WORD_BYTES_MAX);
                prop_assert_eq!(RelayReport::decode(&said), Ok(word));
                prop_assert!((0..said.len()).all(|cut| RelayReport::decode(&said[..cut]).is_err()));
            }
            for order in [RelayOrder::Flow, RelayOrder::Settle, RelayOrder::Finish(Duration::from_micros(number.into()))] {
                prop_assert!(order.encode().len() <= ORDER_BYTES_MAX);
                prop_assert_eq!(RelayOrder::decode(&order.encode()), Ok(order));
            }
            let audit = if is_cut { AuditMode::Strict } else { AuditMode::BestEffort };
            let tty = if is_lost { TtyMode::Hide } else { TtyMode::Pass };
            let stdin = if is_over { StdinMode::Null } else { StdinMode::Caller };
            let captures = bytes.map(|max| max.filter(|max| *max > 0));
            let task = TaskMessage { audit, tty, stdin, captures };
            prop_assert_eq!(task.encode().len(), TASK_BYTES);
            prop_assert_eq!(TaskMessage::decode(&task.encode()), Ok(task));
        }
    }
}
