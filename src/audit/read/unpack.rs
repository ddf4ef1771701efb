//! Unpacks gzip and zstd files, as logrotate leaves them, as a stream: in bounded memory, and with a bound
//! on the unpacked bytes.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use crate::limits::{SCAN_BUFFER_BYTES, ZSTD_WINDOW_BYTES_MAX};

/// The compression of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// The compression of a file, by its first bytes; an error is the name of the program that unpacks a file
    /// of another kind.
    pub(super) fn of(magic: &[u8]) -> Result<Self, &'static str> {
        match magic {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Err("xz"),
            [b'B', b'Z', b'h', ..] => Err("bzip2"),
            [0x04, 0x22, 0x4d, 0x18, ..] => Err("lz4"),
            _ => Ok(Self::None),
        }
    }
}

/// The unpacked bytes, at most `most` of them.
pub(super) fn unpack(packed: impl Read + 'static, packing: Compression, most: u64) -> Box<dyn Read> {
    let buffered = |packed| BufReader::with_capacity(SCAN_BUFFER_BYTES, packed);
    match packing {
        Compression::None => Box::new(packed),
        Compression::Gzip => {
            Box::new(BoundedReader { inner: MultiGzDecoder::new(buffered(packed)), left: most })
        }
        Compression::Zstd => {
            Box::new(BoundedReader { inner: ZstdFrames::Between(buffered(packed)), left: most })
        }
    }
}

/// A reader that fails, instead of ending, when there are more bytes than it may give.
#[derive(Debug)]
struct BoundedReader<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for BoundedReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(into)?;
        self.left = self.left.checked_sub(bytes as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "unpacks to more than a manifest may be")
        })?;
        Ok(bytes)
    }
}

/// The frames of a zstd file, one after the other.
enum ZstdFrames<R: BufRead> {
    Between(R),
    Within(Box<StreamingDecoder<R, FrameDecoder>>),
    Broken,
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            *self = match std::mem::replace(self, Self::Broken) {
                Self::Between(mut packed) => {
                    if packed.fill_buf()?.is_empty() {
                        *self = Self::Between(packed);
                        return Ok(0);
                    }
                    let frame = StreamingDecoder::new_with_max_window_size(packed, ZSTD_WINDOW_BYTES_MAX);
                    Self::Within(Box::new(frame.map_err(invalid)?))
                }
                Self::Within(mut frame) => {
                    let bytes = frame.read(into).map_err(invalid)?;
                    if bytes > 0 || into.is_empty() {
                        *self = Self::Within(frame);
                        return Ok(bytes);
                    }
                    Self::Between(finish(*frame)?)
                }
                Self::Broken => return Err(invalid("the frame before it is broken")),
            };
        }
    }
}

/// Takes the source out of a frame that has ended. Errors: the frame's checksum does not fit.
fn finish<R: Read>(frame: StreamingDecoder<R, FrameDecoder>) -> io::Result<R> {
    let (packed, frame) = frame.into_parts();
    let told = frame.get_checksum_from_data();
    if told.is_some() && told != frame.get_calculated_checksum() {
        return Err(invalid("the checksum does not fit"));
    }
    Ok(packed)
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
