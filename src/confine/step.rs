//! A step of changing a command's view of the file system: the broker writes it (`view.rs`), a launcher reads
//! it, in the nursery's memory: nothing here allocates or can panic.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::ffi::CStr;

/// A step, of which the path is the place. The number is its form on a launcher's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ViewStep {
    /// The mounts at the place are kept, for a later [`Self::PutReadOnly`], [`Self::PutWritable`] or
    /// [`Self::PutData`], in the order in which they are kept.
    Keep = b'k',
    /// Everything becomes read-only; the place counts for nothing.
    AllReadOnly = b'r',
    /// An empty file system that everybody can write covers the place.
    Temporary = b't',
    /// The same, and nothing in it can be executed.
    TemporaryData = b'T',
    /// The last temporary file system appears at this place as well.
    TemporaryToo = b'a',
    /// An empty file system covers the place.
    Blank = b'm',
    /// A directory is made, as a place for a mount.
    Directory = b'd',
    /// A file is made, as a place for a mount.
    EmptyRegular = b'f',
    /// The next kept mounts come here, read-only.
    PutReadOnly = b'1',
    /// The next kept mounts come here, to be written.
    PutWritable = b'2',
    /// The next kept mounts come here, to be written, and nothing there can be executed.
    PutData = b'3',
    /// What is at the place can be written.
    Writable = b'w',
    /// What is at the place can be written, and not executed.
    Data = b'n',
    /// What is at the place can be executed, although the place above it cannot.
    Executable = b'x',
    /// The place cannot be renamed or removed. It may be absent.
    Pin = b'b',
    /// The place cannot be written, renamed or removed. It may be absent.
    Protect = b'l',
    /// The place is empty. It may be absent.
    Hide = b'h',
    /// As [`Self::Protect`], and the place is there.
    ProtectThere = b'L',
    /// As [`Self::Hide`], and the place is there.
    HideThere = b'H',
}

impl ViewStep {
    const ALL: [Self; 19] = [
        Self::Keep,
        Self::AllReadOnly,
        Self::Temporary,
        Self::TemporaryData,
        Self::TemporaryToo,
        Self::Blank,
        Self::Directory,
        Self::EmptyRegular,
        Self::PutReadOnly,
        Self::PutWritable,
        Self::PutData,
        Self::Writable,
        Self::Data,
        Self::Executable,
        Self::Pin,
        Self::Protect,
        Self::Hide,
        Self::ProtectThere,
        Self::HideThere,
    ];

    /// The step and its place, as a launcher is sent them: the step's byte, then the path. `None` for another
    /// text.
    pub fn read(text: &CStr) -> Option<(Self, &CStr)> {
        let (first, place) = text.to_bytes_with_nul().split_first()?;
        let step = *Self::ALL.iter().find(|step| **step as u8 == *first)?;
        Some((step, CStr::from_bytes_with_nul(place).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;

    #[test]
    fn every_step_is_read_as_it_was_written() {
        for step in ViewStep::ALL {
            let text = CString::new([&[step as u8], b"/a b".as_slice()].concat()).expect("no NUL");
            assert_eq!(ViewStep::read(&text), Some((step, c"/a b")));
        }
        assert_eq!(ViewStep::read(c"?/a"), None);
        assert_eq!(ViewStep::read(c""), None);
    }
}
