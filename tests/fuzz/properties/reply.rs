//! Replies and their explanations: what decodes encodes to the same bytes, and what encodes decodes to the
//! same.

use sluice::limits::{EXPLANATION_BYTES_MAX, LISTING_BYTES_MAX};
use sluice::wire::{Explanation, Reply, Status};

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
    explanation(data);
    listing(String::from_utf8_lossy(data).into_owned());
}

fn explanation(data: &[u8]) {
    match Explanation::decode(data) {
        Ok(explanation) => {
            assert_eq!(explanation.encode(), data);
            assert!(!explanation.reason().contains(char::is_control));
        }
        Err(malformed) => assert!(!malformed.to_string().is_empty()),
    }
    let call = data.first_chunk().map(|call| u64::from_le_bytes(*call));
    let explanation = Explanation::new(call, &String::from_utf8_lossy(data));
    let message = explanation.encode();
    assert!(message.len() <= EXPLANATION_BYTES_MAX);
    assert_eq!(Explanation::decode(&message), Ok(explanation));
}

fn listing(text: String) {
    let fits = text.len() <= LISTING_BYTES_MAX;
    let reply = Reply::Listing(text);
    let want = if fits { reply.clone() } else { Reply::Status(Status::TOO_LARGE) };
    assert_eq!(Reply::decode(&reply.encode()), Ok(want));
}
