//! A request, from the message that waits on its connection to the rule that allows it.

use std::io;
use std::os::fd::AsFd;

use crate::audit::Caller;
use crate::broker::admitted::{AllowedCall, decide};
use crate::broker::client_request::ClientRequest;
use crate::broker::state::{Broker, ServedSocket};
use crate::limits::{LISTING_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::refusal::{DescriptorFault, Refusal};
use crate::rules::Policy;
use crate::sys::{self, PeekedMessage};
use crate::wire::{Malformed, Request};

/// A request that was decoded.
pub(super) enum DecodedRequest {
    /// No request: the caller left.
    Nothing,
    /// A call, and the rule that allows it.
    Call(Box<AllowedCall>),
    /// A request for the listing, with the listing.
    List(String),
}

/// Decodes the request that waits on a connection, and decides it. Nothing has changed yet.
pub(super) fn ask(
    broker: &Broker,
    socket: &ServedSocket,
    client: &mut ClientRequest,
) -> Result<DecodedRequest, Refusal> {
    let Some(message) = look(client)? else { return Ok(DecodedRequest::Nothing) };
    let request = Request::decode(&message.bytes).map_err(Refusal::Malformed)?;
    if broker.events.is_stopping() {
        return Err(Refusal::Stopping);
    }
    let policy = socket.rules.policy();
    let Request::Call(argv) = request else { return listing(&policy) };
    client.argv.clone_from(&argv);
    let caller = client.caller.clone().ok_or(Refusal::NoCredentials)?;
    if !message.brings_descriptors {
        return Err(Refusal::Descriptors(DescriptorFault::Count(0)));
    }
    let matched = decide(&broker.events, &policy, &argv)?;
    Ok(DecodedRequest::Call(Box::new(AllowedCall::new(caller, matched, policy))))
}

fn listing(policy: &Policy) -> Result<DecodedRequest, Refusal> {
    let text = policy.listing();
    if text.len() > LISTING_BYTES_MAX {
        return Err(Refusal::ListingTooLarge(text.len()));
    }
    Ok(DecodedRequest::List(text))
}

/// The message that waits on a connection, and its sender; `None` when the caller left and sent nothing. The
/// message stays where it is, with its descriptors, so that it can be looked at again.
pub(in crate::broker) fn look(client: &mut ClientRequest) -> Result<Option<PeekedMessage>, Refusal> {
    // Only a broker that stops looks at a connection on which nothing was sent yet.
    let lost = |source: io::Error| {
        let silent = source.kind() == io::ErrorKind::WouldBlock;
        if silent { Refusal::Stopping } else { Refusal::Malformed(Malformed::Truncated) }
    };
    let Some(message) = sys::peek(client.connection.as_fd(), MESSAGE_BYTES_MAX).map_err(lost)? else {
        return if client.connection.is_over() {
            Ok(None)
        } else {
            Err(Refusal::Malformed(Malformed::Truncated))
        };
    };
    client.caller = message.sender.map(|sender| Caller::new(sender, client.connection.connector()));
    if message.length > MESSAGE_BYTES_MAX {
        return Err(Refusal::Malformed(Malformed::TooLarge(message.length)));
    }
    Ok(Some(message))
}
