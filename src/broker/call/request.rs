//! A request, from the message that waits on its connection to the rule that allows it.

use std::io;
use std::os::fd::AsFd;

use crate::audit::Caller;
use crate::broker::admitted::{AllowedCall, decide};
use crate::broker::client_request::ClientRequest;
use crate::broker::state::{Broker, ServedSocket};
use crate::ids::ClaimedWord;
use crate::limits::{FRAME_BYTES_MAX, LISTING_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::refusal::{DescriptorFault, Refusal};
use crate::rules::Policy;
use crate::sys::{self, PeekedMessage};
use crate::wire::v2::{CALL_FDS, LIST_FDS, ListFormat, PipedRequest};
use crate::wire::{Malformed, Request, VERSION_2, version_of};

use super::adapted::{AdaptedRequest, AdapterResult};

/// A request that was decoded.
pub(super) enum DecodedRequest {
    /// No request: the caller left.
    Nothing,
    /// A call, and the rule that allows it.
    Call(Box<AllowedCall>),
    /// A request for the listing, with the listing.
    List(String),
    /// A request of version 2 that no adapter could take, for this reason: it is still in its connection.
    Untaken(Refusal),
    /// A request of version 2 that was refused before, and that an adapter could not use: it is out of its
    /// connection, as far as is known.
    TakenAway,
}

/// Decodes the request that waits on a connection, and decides it. Nothing has changed yet, but that a
/// request of version 2 has left its connection, which is watched again.
pub(super) fn ask(
    broker: &Broker,
    socket: &ServedSocket,
    client: &mut ClientRequest,
) -> Result<DecodedRequest, Refusal> {
    let Some(message) = look(client)? else { return Ok(DecodedRequest::Nothing) };
    if version_of(&message.bytes) == Some(VERSION_2) {
        client.connection.share();
    }
    if client.connection.is_shared() {
        return ask_piped(broker, socket, client, &message);
    }
    let request = Request::decode(&message.bytes).map_err(Refusal::Malformed)?;
    if broker.events.is_stopping() {
        return Err(Refusal::Stopping);
    }
    match request {
        Request::Call(argv) if !message.brings_descriptors => {
            client.argv = argv;
            Err(Refusal::Descriptors(DescriptorFault::Count(0)))
        }
        Request::Call(argv) => decide_call(broker, socket, client, argv),
        Request::List => listing(&socket.rules.policy(), ListFormat::Text, LISTING_BYTES_MAX),
    }
}

/// Like [`ask`], for a request of version 2: an adapter takes it while it is decided.
fn ask_piped(
    broker: &Broker,
    socket: &ServedSocket,
    client: &mut ClientRequest,
    message: &PeekedMessage,
) -> Result<DecodedRequest, Refusal> {
    let request = PipedRequest::decode(&message.bytes).map_err(Refusal::Malformed);
    let is_call = matches!(request, Ok(PipedRequest::Call(_)));
    let is_refused = client.connection.is_refused();
    let adapted = match AdaptedRequest::begin(broker, &client.connection, message) {
        Ok(adapted) => adapted,
        Err(refusal) => {
            if let Ok(PipedRequest::Call(argv)) = request {
                client.argv = argv;
            }
            return Ok(DecodedRequest::Untaken(refusal));
        }
    };
    let asked = match request {
        // It was answered, and is only taken out of the way of the next one.
        _ if is_refused => Ok(DecodedRequest::Nothing),
        request => request.and_then(|request| decide_piped(broker, socket, client, request)),
    };
    let count = match adapted.finish(broker, client) {
        Ok(AdapterResult::Taken(count)) => count,
        Ok(AdapterResult::Untaken(refusal)) => return Ok(DecodedRequest::Untaken(refusal)),
        Err(_) if is_refused => return Ok(DecodedRequest::TakenAway),
        Err(refusal) => return Err(refusal),
    };
    let asked = asked?;
    if is_refused {
        return Ok(asked);
    }
    let wanted = if is_call { CALL_FDS } else { LIST_FDS };
    if count != wanted {
        return Err(Refusal::PipedDescriptors(DescriptorFault::Count(count)));
    }
    Ok(asked)
}

fn decide_piped(
    broker: &Broker,
    socket: &ServedSocket,
    client: &mut ClientRequest,
    request: PipedRequest,
) -> Result<DecodedRequest, Refusal> {
    if broker.events.is_stopping() {
        return Err(Refusal::Stopping);
    }
    match request {
        PipedRequest::Call(argv) => decide_call(broker, socket, client, argv),
        PipedRequest::List(format) => listing(&socket.rules.policy(), format, FRAME_BYTES_MAX),
    }
}

fn decide_call(
    broker: &Broker,
    socket: &ServedSocket,
    client: &mut ClientRequest,
    argv: Vec<ClaimedWord>,
) -> Result<DecodedRequest, Refusal> {
    let policy = socket.rules.policy();
    client.argv.clone_from(&argv);
    let caller = client.caller.clone().ok_or(Refusal::NoCredentials)?;
    let matched = decide(&broker.events, &policy, &argv)?;
    Ok(DecodedRequest::Call(Box::new(AllowedCall::new(caller, matched, policy))))
}

fn listing(policy: &Policy, format: ListFormat, bytes_max: usize) -> Result<DecodedRequest, Refusal> {
    let text = match format {
        ListFormat::Text => policy.listing(),
        ListFormat::Json => policy.listing_json(),
    };
    if text.len() > bytes_max {
        return Err(Refusal::ListingTooLarge(text.len()));
    }
    Ok(DecodedRequest::List(text))
}

/// The message that waits on a connection, and its sender; `None` when the caller left and sent nothing. The
/// message stays where it is, with its descriptors, so that it can be looked at again.
pub(in crate::broker) fn look(client: &mut ClientRequest) -> Result<Option<PeekedMessage>, Refusal> {
    let is_shared = client.connection.is_shared();
    // Only a broker that stops looks at a connection on which nothing was sent yet.
    let lost = |source: io::Error| {
        let silent = source.kind() == io::ErrorKind::WouldBlock;
        if silent { Refusal::Stopping } else { Refusal::Malformed(Malformed::Truncated) }
    };
    let look = || sys::peek(client.connection.as_fd(), MESSAGE_BYTES_MAX);
    let peeked = match look() {
        // The kernel reports once that a caller left with an answer unread.
        Err(source) if is_shared && source.kind() == io::ErrorKind::ConnectionReset => look(),
        peeked => peeked,
    };
    let peeked = match peeked {
        Err(source) if is_shared && source.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        peeked => peeked.map_err(lost)?,
    };
    let Some(message) = peeked else {
        // Callers of version 2 may say that nothing more comes, and stay for the frames of their calls.
        return if is_shared || client.connection.is_over() {
            Ok(None)
        } else {
            Err(Refusal::Malformed(Malformed::Truncated))
        };
    };
    let is_door = client.connection.is_door();
    client.caller = message.sender.map(|sender| match is_door {
        true => Caller::through_fifo(sender),
        false => Caller::new(sender, client.connection.connector()),
    });
    if message.length > MESSAGE_BYTES_MAX {
        // No adapter takes it, so it stays the first message of its connection.
        client.connection.give_up();
        return Err(Refusal::Malformed(Malformed::TooLarge(message.length)));
    }
    Ok(Some(message))
}
