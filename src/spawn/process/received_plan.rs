//! A plan as a launcher reads it, in place in the received bytes; `plan.rs` has its shape. This code runs in
//! the nursery's memory: nothing here allocates or can panic.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::ffi::CStr;

use crate::wire::{Malformed, MessageReader};

/// A plan whose texts point into the received bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceivedPlan<'a> {
    pub(super) umask: u32,
    pub(in crate::spawn) program: &'a CStr,
    pub(super) cwd: &'a CStr,
    pub(super) argv: TextList<'a>,
    pub(in crate::spawn) environment: TextList<'a>,
    pub(in crate::spawn) opened: TextList<'a>,
    pub(in crate::spawn) secrets: TextList<'a>,
    pub(in crate::spawn) files: ContentList<'a>,
    /// What confines the command.
    pub(super) restrictions: Option<ReceivedRestrictions<'a>>,
}

/// What confines a command; its texts point into the received bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceivedRestrictions<'a> {
    /// [`RestrictionBits`](super::plan::RestrictionBits).
    pub(super) bits: u32,
    pub(super) landlock_flags: u32,
    pub(super) temporary_rights: u64,
    /// Empty where there is none.
    pub(super) temporary: &'a CStr,
    pub(super) view: TextList<'a>,
    limits: &'a [u8],
    pub(super) filter: &'a [u8],
    pub(super) passing_filter: &'a [u8],
}

/// A list of texts, checked when it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextList<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl<'a> ReceivedPlan<'a> {
    /// Reads the bytes of `LaunchPlan::encode`, without the leading count.
    pub(in crate::spawn) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = MessageReader::new(bytes);
        let umask = reader.u32()?;
        let (program, cwd) = (text(&mut reader)?, text(&mut reader)?);
        let (argv, environment, opened) = (list(&mut reader)?, list(&mut reader)?, list(&mut reader)?);
        let restrictions = ReceivedRestrictions::read(&mut reader)?;
        let (secrets, files) = (list(&mut reader)?, ContentList::read(&mut reader)?);
        reader.end()?;
        Ok(Self { umask, program, cwd, argv, environment, opened, secrets, files, restrictions })
    }
}

/// Bytes of a limit: the resource's number, and the most of it.
const LIMIT_BYTES: usize = 12;

impl<'a> ReceivedRestrictions<'a> {
    fn read(reader: &mut MessageReader<'a>) -> Result<Option<Self>, Malformed> {
        let bits = reader.u32()?;
        if bits == 0 {
            return Ok(None);
        }
        let landlock_flags = reader.u32()?;
        let temporary_rights = u64::from(reader.u32()?) | u64::from(reader.u32()?) << 32;
        let (temporary, view) = (text(reader)?, list(reader)?);
        let limits = reader.u32()?;
        let limits = reader.bytes(size(limits)?.saturating_mul(LIMIT_BYTES))?;
        let filter = reader.u32()?;
        let filter = reader.bytes(size(filter)?)?;
        let passing_filter = reader.u32()?;
        let passing_filter = reader.bytes(size(passing_filter)?)?;
        Ok(Some(Self {
            bits,
            landlock_flags,
            temporary_rights,
            temporary,
            view,
            limits,
            filter,
            passing_filter,
        }))
    }

    /// The limits: a resource's number for `setrlimit(2)`, and its value.
    pub(super) fn limits(&self) -> impl Iterator<Item = (u32, u64)> {
        self.limits.as_chunks::<LIMIT_BYTES>().0.iter().map(|limit| {
            let [a, b, c, d, most @ ..] = *limit;
            (u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(most))
        })
    }
}

fn size(count: u32) -> Result<usize, Malformed> {
    usize::try_from(count).map_err(|_| Malformed::Truncated)
}

impl<'a> TextList<'a> {
    /// How many there are.
    pub(in crate::spawn) fn count(self) -> u32 {
        self.count
    }

    /// The texts in order.
    pub(in crate::spawn) fn iter(self) -> impl Iterator<Item = &'a CStr> {
        let mut reader = MessageReader::new(self.bytes);
        (0..self.count).map_while(move |_| text(&mut reader).ok())
    }
}

/// A list of contents of files, checked when it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ContentList<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl<'a> ContentList<'a> {
    fn read(reader: &mut MessageReader<'a>) -> Result<Self, Malformed> {
        let count = reader.u32()?;
        let bytes = reader.rest();
        for _ in 0..count {
            content(reader)?;
        }
        Ok(Self { count, bytes })
    }

    /// How many there are.
    pub(in crate::spawn) fn count(self) -> u32 {
        self.count
    }

    /// The contents in order.
    pub(in crate::spawn) fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let mut reader = MessageReader::new(self.bytes);
        (0..self.count).map_while(move |_| content(&mut reader).ok())
    }
}

fn content<'a>(reader: &mut MessageReader<'a>) -> Result<&'a [u8], Malformed> {
    let length = usize::try_from(reader.u32()?).map_err(|_| Malformed::Truncated)?;
    reader.bytes(length)
}

fn text<'a>(reader: &mut MessageReader<'a>) -> Result<&'a CStr, Malformed> {
    let length = usize::try_from(reader.u32()?).map_err(|_| Malformed::Truncated)?;
    let bytes = reader.bytes(length.saturating_add(1))?;
    CStr::from_bytes_with_nul(bytes).map_err(|_| Malformed::Nul)
}

fn list<'a>(reader: &mut MessageReader<'a>) -> Result<TextList<'a>, Malformed> {
    let count = reader.u32()?;
    let rest = reader.rest();
    for _ in 0..count {
        text(reader)?;
    }
    let read = rest.len().saturating_sub(reader.rest().len());
    Ok(TextList { count, bytes: rest.get(..read).ok_or(Malformed::Truncated)? })
}
