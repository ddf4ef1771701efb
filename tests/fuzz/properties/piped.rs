//! Version 2, both directions: requests and orders as the broker reads them, frames as a client reads them,
//! in whatever pieces they come.

use sluice::limits::FRAME_BYTES_MAX;
use sluice::wire::v2::{CONTROL_BYTES, FrameReader, PipedRequest, signal_of, signal_order};

/// Panics when the property does not hold for `data`.
pub(crate) fn check(data: &[u8]) {
    request(data);
    orders(data);
    let whole = frames(data, usize::MAX);
    let pieces = data.first().map_or(1, |first| usize::from(*first).max(1));
    assert_eq!(whole, frames(data, pieces), "frames do not depend on the pieces in which they come");
}

/// `data` as a request.
fn request(data: &[u8]) {
    match PipedRequest::decode(data) {
        Ok(request) => assert_eq!(request.encode().as_deref(), Some(data)),
        Err(malformed) => assert!(!malformed.to_string().is_empty()),
    }
}

/// `data` as orders on control.
fn orders(data: &[u8]) {
    for order in data.as_chunks::<CONTROL_BYTES>().0 {
        if let Some(signal) = signal_of(*order) {
            assert_eq!(signal_order(signal), *order);
        }
    }
}

/// The frames in `data`, written again, and whether an error came after them.
fn frames(data: &[u8], piece: usize) -> (Vec<Vec<u8>>, bool) {
    let (mut reader, mut frames) = (FrameReader::new(), Vec::new());
    for bytes in data.chunks(piece.min(data.len().max(1))) {
        reader.push(bytes);
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => frames.push(frame.encode()),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    assert!(frames.iter().all(|frame| frame.len() <= 8 + FRAME_BYTES_MAX));
    (frames, false)
}
