//! What a launcher is told: the command, and how it starts.
//!
//! Shape on the launcher's stream: `u32` bytes of what follows, then the fields in order, each text as `u32 length`
//! and bytes, each list as `u32 count` and texts. The three descriptors ride on the first byte.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use crate::wire::{Malformed, Reader};

/// The command's stdin, stdout and stderr.
#[derive(Debug)]
pub struct Stdio(pub [OwnedFd; 3]);

/// A command, ready to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The program's absolute path.
    pub program: CString,
    /// The working directory.
    pub cwd: CString,
    /// The words, the program's name first. Never empty.
    pub argv: Vec<CString>,
    /// The whole environment, as `NAME=value`.
    pub environment: Vec<CString>,
    /// The file mode creation mask.
    pub umask: u32,
}

impl Plan {
    /// The bytes of this plan, their count first.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        put_number(&mut bytes, self.umask);
        put_text(&mut bytes, &self.program);
        put_text(&mut bytes, &self.cwd);
        for list in [&self.argv, &self.environment] {
            put_number(&mut bytes, length(list.len()));
            list.iter().for_each(|text| put_text(&mut bytes, text));
        }
        let count = length(bytes.len() - 4).to_le_bytes();
        bytes[..4].copy_from_slice(&count);
        bytes
    }

    /// A plan from its bytes without their count.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let umask = reader.u32()?;
        let (program, cwd) = (text(&mut reader)?, text(&mut reader)?);
        let (argv, environment) = (list(&mut reader)?, list(&mut reader)?);
        reader.end()?;
        Ok(Self { program, cwd, argv, environment, umask })
    }
}

fn length(count: usize) -> u32 {
    u32::try_from(count).expect("a request and an environment are far below 4 GiB")
}

fn put_number(bytes: &mut Vec<u8>, number: u32) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &CString) {
    put_number(bytes, length(text.as_bytes().len()));
    bytes.extend_from_slice(text.as_bytes());
}

fn text(reader: &mut Reader<'_>) -> Result<CString, Malformed> {
    let length = usize::try_from(reader.u32()?).map_err(|_| Malformed::Truncated)?;
    CString::new(reader.bytes(length)?).map_err(|_| Malformed::Nul)
}

fn list(reader: &mut Reader<'_>) -> Result<Vec<CString>, Malformed> {
    let count = reader.u32()?;
    (0..count).map(|_| text(reader)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts() -> impl Strategy<Value = Vec<CString>> {
        prop::collection::vec("[^\0]{0,20}", 0..8)
            .prop_map(|list| list.into_iter().filter_map(|text| CString::new(text).ok()).collect())
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(argv in texts(), environment in texts(), umask in any::<u32>()) {
            let (program, cwd) = (c"/bin/true".to_owned(), c"/".to_owned());
            let plan = Plan { program, cwd, argv, environment, umask };
            prop_assert_eq!(Plan::decode(&plan.encode()[4..]), Ok(plan));
        }
    }
}
