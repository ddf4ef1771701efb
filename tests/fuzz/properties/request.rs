//! Requests: what decodes encodes to the same bytes, and what encodes decodes to the same words.

use sluice::ids::ClaimedWord;
use sluice::limits::{ARG_BYTES_MAX, ARGC_MAX, MESSAGE_BYTES_MAX};
use sluice::wire::Request;

/// Panics when the property does not hold for `data`.
pub(crate) fn check(data: &[u8]) {
    decoded(data);
    encoded(data);
}

/// `data` as a message.
fn decoded(data: &[u8]) {
    let request = match Request::decode(data) {
        Ok(request) => request,
        Err(malformed) => return assert!(!malformed.to_string().is_empty()),
    };
    assert_eq!(request.encode().as_deref(), Some(data));
    if let Request::Call(words) = request {
        assert!((1..=ARGC_MAX).contains(&words.len()));
        assert!(
            words.iter().all(|word| word.as_str().len() <= ARG_BYTES_MAX && !word.as_str().contains('\0'))
        );
    }
}

/// `data` as words with a NUL between them.
fn encoded(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some(words) = text.split('\0').map(ClaimedWord::new).collect::<Option<Vec<_>>>() else { return };
    let bytes: usize = words.iter().map(|word| word.as_str().len() + 4).sum();
    let fits = words.len() <= ARGC_MAX && bytes + 12 <= MESSAGE_BYTES_MAX;
    let request = Request::Call(words);
    let message = request.encode();
    assert_eq!(message.is_some(), fits);
    if let Some(message) = message {
        assert_eq!(Request::decode(&message), Ok(request));
    }
}
