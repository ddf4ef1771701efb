//! One request for the listing, on a thread of its own.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use napi::bindgen_prelude::Result as Thrown;
use sluice::client::{BrokerAddress, CallFailure, PendingRequest, RequestEvent};
use sluice::sluicify::{AskedCall, CallerOutcome, failed};
use sluice::wire::Malformed;
use sluice::wire::v2::ListFormat;

use crate::asking::{Asking, thrown};
use crate::call::STACK_BYTES;
use crate::place::CallPlace;

/// Asks, and tells `asking` what came.
pub(crate) fn start(place: Arc<CallPlace>, asking: Asking) -> Thrown<()> {
    let run = move || {
        let listed = place.ask(|place, address| ask(&AskedCall { place, words: &[] }, address));
        asking.finish(match listed {
            Ok(Ok(listing)) => format!("{{\"listing\":{listing}}}"),
            Ok(Err(outcome)) => outcome.line(),
            Err(problem) => CallerOutcome::unreached(problem).line(),
        });
    };
    let thread = thread::Builder::new().name("sluice-list".into()).stack_size(STACK_BYTES);
    thread.spawn(run).map(drop).map_err(thrown)
}

/// The listing, or why there is none. Errors: nothing could be asked.
fn ask(asked: &AskedCall<'_>, address: BrokerAddress) -> Result<Result<String, CallerOutcome>, String> {
    match listing(address) {
        Ok(listing) => Ok(Ok(listing)),
        Err(failure) => {
            let (outcome, message) = failed(asked, &failure)?;
            Ok(Err(CallerOutcome { reason: message.or(outcome.reason), ..outcome }))
        }
    }
}

fn listing(address: BrokerAddress) -> Result<String, CallFailure> {
    match PendingRequest::<OwnedFd>::list(address, ListFormat::Json)?.wait_for_end(None)? {
        Some(RequestEvent::Listing(listing)) => Ok(listing),
        _ => Err(CallFailure::Unreadable(Malformed::Truncated)),
    }
}
