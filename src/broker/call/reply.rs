//! The answers to a request. No answer is sent before its record is written: that of a refusal here, that of
//! an end in `walk.rs`.

use crate::audit::RefusedRequest;
use crate::broker::admitted::AdmittedCall;
use crate::broker::client_request::ClientRequest;
use crate::broker::state::{Broker, ServedSocket};
use crate::ids::ClaimedWord;
use crate::refusal::Refusal;
use crate::wire::Malformed;

use super::walk::EndedCall;

/// Puts a refusal on record, then answers with it.
pub(in crate::broker) fn refuse(
    broker: &Broker,
    socket: &ServedSocket,
    client: &ClientRequest,
    refusal: &Refusal,
) {
    let argv: Vec<_> = client.argv.iter().map(ClaimedWord::as_str).collect();
    let rejected = RefusedRequest::new(&socket.name, client.known_caller(), &argv, refusal);
    let is_hidden = argv.first().is_some_and(|program| socket.rules.policy().hides(program));
    let rejected = if is_hidden { rejected.without_words() } else { rejected };
    let call = broker.record_refusal(socket, client.call.get(), &rejected);
    client.answer_why(refusal.status(), Some(call), &refusal.told());
    refuse_more(broker, socket, client);
}

/// Refuses a call that still waits for its place, because the broker stops.
pub(in crate::broker) fn turn_out(broker: &Broker, socket: &ServedSocket, admitted: &AdmittedCall) {
    refuse(broker, socket, &admitted.client, &Refusal::Stopping);
}

/// Answers a call whose end is on record.
pub(super) fn answer_end(client: &ClientRequest, ended: &EndedCall) {
    match ended.end {
        Some(end) => client.answer_end(ended.call, end, ended.why.as_deref()),
        None => client.answer_why(ended.status, Some(ended.call), ended.why.as_deref().unwrap_or_default()),
    }
}

/// Puts on record as refused any further messages of the caller: a connection carries one request.
pub(super) fn refuse_more(broker: &Broker, socket: &ServedSocket, client: &ClientRequest) {
    for _ in 0..client.connection.count_rest() {
        let refusal = Refusal::Malformed(Malformed::Second);
        let rejected = RefusedRequest::new(&socket.name, client.caller.clone(), &[], &refusal);
        broker.record_refusal(socket, None, &rejected);
    }
}
