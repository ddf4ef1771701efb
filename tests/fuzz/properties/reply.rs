//! Replies: what decodes encodes to the same bytes, and what encodes decodes to the same reply.

use sluice::limits::LISTING_BYTES_MAX;
use sluice::wire::{Reply, Status};

/// Panics when the property does not hold for `data`.
pub(crate) fn check(data: &[u8]) {
    match Reply::decode(data) {
        Ok(reply) => assert_eq!(reply.encode(), data),
        Err(malformed) => assert!(!malformed.to_string().is_empty()),
    }
    if let Some(status) = data.first_chunk() {
        let reply = Reply::Status(Status::from_wire(i32::from_le_bytes(*status)));
        assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
    }
    listing(String::from_utf8_lossy(data).into_owned());
}

fn listing(text: String) {
    let fits = text.len() <= LISTING_BYTES_MAX;
    let reply = Reply::Listing(text);
    let want = if fits { reply.clone() } else { Reply::Status(Status::TOO_LARGE) };
    assert_eq!(Reply::decode(&reply.encode()), Ok(want));
}
