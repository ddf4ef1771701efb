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
        let secrets = list(&mut reader)?;
        reader.end()?;
        Ok(Self { umask, program, cwd, argv, environment, opened, secrets })
    }
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
