//! The work of a thread: it answers a request, and then runs the calls that waited for the request's place.
//! Whatever fails, each of them is answered and recorded, and no place is lost. `walk.rs` has the steps of
//! one call.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crate::broker::admission::RunSlot;
use crate::broker::admitted::{AdmittedCall, AllowedCall};
use crate::broker::client_request::ClientRequest;
use crate::broker::connection::Connection;
use crate::broker::door_setup::lose_door;
use crate::broker::notice::Notice;
use crate::broker::state::{Broker, ServedSocket};
use crate::limits::REQUEST_REST_MAX;
use crate::refusal::Refusal;
use crate::spawn::{Launcher, Relay};
use crate::wire::Status;

use super::context::{CallContext, CallStage, RefusedCall};
use super::reply::{answer_end, refuse, refuse_more, turn_out};
use super::request::{DecodedRequest, ask};
use super::walk::{EndedCall, run};

/// Answers the request that waits on a connection, and then runs the calls that waited for its place.
pub(in crate::broker) fn answer(broker: &Broker, socket: &ServedSocket, connection: Connection) {
    let mut client = ClientRequest::new(connection);
    // A panic in here becomes a refusal, which is recorded and answered.
    let asked = catch_unwind(AssertUnwindSafe(|| ask(broker, socket, &mut client)));
    let allowed = match asked.unwrap_or(Err(Refusal::Failed)) {
        Ok(DecodedRequest::Call(allowed)) => allowed,
        Ok(DecodedRequest::List(text)) => {
            return match broker.record_listing(socket, client.caller.clone()) {
                Ok(()) => {
                    client.answer_listing(text);
                    refuse_more(broker, socket, &client);
                }
                Err(refusal) => refuse(broker, socket, &client, &refusal),
            };
        }
        Ok(DecodedRequest::Nothing) => return end_of(broker, &client.connection),
        Ok(DecodedRequest::Untaken(refusal)) => return put_off(broker, socket, client, &refusal),
        Ok(DecodedRequest::TakenAway) => return watch_on(broker, client),
        Err(refusal) => {
            refuse(broker, socket, &client, &refusal);
            return watch_on(broker, client);
        }
    };
    let (policy, is_told_of_waits) = (allowed.policy.clone(), client.connection.is_line());
    match socket.admission.enter(AdmittedCall { client, allowed }, watch_departure(broker)) {
        Some((ticket, admitted)) => take_turns(broker, socket, ticket, admitted),
        None => {
            if is_told_of_waits {
                broker.note_queued(socket);
            }
            // Rules that came into force meanwhile were not applied to this call, because it did not wait
            // yet.
            if !Arc::ptr_eq(&policy, &socket.rules.policy()) {
                broker.need_waiting_job(socket);
            }
        }
    }
}

/// Notes the end of a connection, on which no request comes any more.
fn end_of(broker: &Broker, connection: &Connection) {
    if connection.is_door() {
        lose_door(broker, connection.socket());
    }
}

/// After a refusal on a connection of version 2 itself, because the request had no pipe for it: the
/// connection is watched for the next request, unless it can carry none.
fn watch_on(broker: &Broker, client: ClientRequest) {
    if client.connection.is_shared() {
        broker.watch_again(client.connection);
    } else {
        end_of(broker, &client.connection);
    }
}

/// Leaves a request of version 2 that no adapter can take in its connection, for a while each time. After
/// many tries it is refused, and taken out later, so that the connection can carry others. Where that cannot
/// be waited for, the connection is closed.
fn put_off(broker: &Broker, socket: &ServedSocket, client: ClientRequest, refusal: &Refusal) {
    let connection = &client.connection;
    let rest = connection.next_rest();
    let is_closed = broker.events.is_stopping() || connection.is_last();
    if is_closed {
        connection.give_up();
    }
    if !connection.is_refused() && (is_closed || rest.is_none()) {
        refuse(broker, socket, &client, refusal);
        connection.note_refused();
    }
    if is_closed {
        return end_of(broker, connection);
    }
    broker.incoming.rest(client.connection, Instant::now() + rest.unwrap_or(REQUEST_REST_MAX));
}

/// Watches the caller of a call that begins to wait for its place.
fn watch_departure(broker: &Broker) -> impl FnOnce(&AdmittedCall) {
    |admitted| broker.incoming.watch_departure(&admitted.client.connection)
}

/// Refuses the waiting calls whose callers have left.
fn put_out_left(broker: &Broker, socket: &ServedSocket) {
    let left = socket.admission.take_left();
    left.iter().for_each(|admitted| refuse(broker, socket, &admitted.client, &Refusal::Left));
    if !left.is_empty() {
        broker.note_change();
        broker.offer_thread(socket);
    }
}

/// Looks at the calls that wait for a place: under the rules in force now, or because their callers have
/// left, they may be refused, or run.
pub(in crate::broker) fn attend(broker: &Broker, socket: &ServedSocket) {
    while let Some((turn, mut admitted)) =
        socket.admission.take_out(|admitted| admitted.allowed.is_outdated(&socket.rules))
    {
        let AdmittedCall { client, allowed } = &mut admitted;
        let look = AssertUnwindSafe(|| allowed.look_again(&socket.rules, &broker.events, &client.argv));
        match catch_unwind(look).unwrap_or(Err(Refusal::Failed)) {
            Ok(_) => socket.admission.put_back(turn, admitted),
            Err(refusal) => refuse(broker, socket, &admitted.client, &refusal),
        }
        broker.note_change();
    }
    put_out_left(broker, socket);
    if broker.events.is_stopping() {
        return socket.admission.turn_out().iter().for_each(|admitted| turn_out(broker, socket, admitted));
    }
    let next = socket.admission.next();
    if next.others {
        broker.need_waiting_job(socket);
    }
    if let Some((ticket, admitted)) = next.placed {
        take_turns(broker, socket, ticket, admitted);
    }
}

/// Runs a call that has a place, and then the calls that waited for that place.
fn take_turns(broker: &Broker, socket: &ServedSocket, mut ticket: RunSlot, mut admitted: AdmittedCall) {
    loop {
        broker.note_change();
        let next = match execute(broker, socket, admitted) {
            None => socket.admission.leave(&ticket),
            Some(other) => socket.admission.trade(&ticket, other, watch_departure(broker)),
        };
        broker.note_change();
        if next.others {
            broker.need_waiting_job(socket);
        }
        let Some(placed) = next.placed else { return };
        // One request fewer waits.
        broker.offer_thread(socket);
        (ticket, admitted) = placed;
    }
}

/// Runs an admitted call and answers it. Returns the call when another rule decides by now, whose place it
/// needs.
fn execute(broker: &Broker, socket: &ServedSocket, admitted: AdmittedCall) -> Option<AdmittedCall> {
    let AdmittedCall { client, mut allowed } = admitted;
    let stage = Cell::new(CallStage::Asked);
    let context = CallContext { broker, socket, client: &client, stage: &stage };
    let after = match catch_unwind(AssertUnwindSafe(|| run_and_answer(context, &mut allowed))) {
        Ok(None) => return Some(AdmittedCall { client, allowed }),
        Ok(after) => after,
        Err(_) => {
            answer_failed(context);
            None
        }
    };
    if matches!(after, Some(AfterAnswer::Ended(_))) {
        refuse_more(broker, socket, &client);
    }
    drop(client);
    // A panic here must not lose the call's place, for which other calls wait.
    let finished = AssertUnwindSafe(|| after.into_iter().for_each(|after| finish(broker, socket, after)));
    if catch_unwind(finished).is_err() {
        (broker.say)(&Notice::CallLost(&io::ErrorKind::Other.into()));
    }
    None
}

/// The rest of the work on a call that has been answered.
enum AfterAnswer {
    /// The call did not run; the process that was made for it is dismissed.
    Refused(Option<Launcher>),
    Ended(Box<EndedCall>),
}

/// Answers a call after a panic. A call that was on record as started is on record as lost by now.
fn answer_failed(context: CallContext<'_>) {
    let CallContext { broker, socket, client, stage } = context;
    (broker.say)(&Notice::CallLost(&io::ErrorKind::Other.into()));
    match stage.get() {
        CallStage::Asked => refuse(broker, socket, client, &Refusal::Failed),
        CallStage::Started => client.answer_unseen(Status::AUDIT),
        CallStage::Answered => {}
    }
}

/// Runs a call and answers it. `None` when it was not answered, because it needs another place.
fn run_and_answer(context: CallContext<'_>, allowed: &mut AllowedCall) -> Option<AfterAnswer> {
    let after = match run(context, allowed) {
        Ok(ended) => {
            let ended = ended?;
            answer_end(context.client, &ended);
            AfterAnswer::Ended(Box::new(ended))
        }
        Err(RefusedCall { refusal, launcher }) => {
            refuse(context.broker, context.socket, context.client, &refusal);
            AfterAnswer::Refused(launcher)
        }
    };
    context.stage.set(CallStage::Answered);
    Some(after)
}

/// Does the rest of the work on a call that has been answered.
fn finish(broker: &Broker, socket: &ServedSocket, after: AfterAnswer) {
    let stop = broker.events.as_stop();
    let EndedCall { captures, relay, remains, is_stuck, launcher, .. } = match after {
        AfterAnswer::Ended(ended) => *ended,
        // A launcher that cannot close its descriptors keeps its call's place, so that a caller has no more
        // such launchers than calls.
        AfterAnswer::Refused(launcher) => {
            return launcher.into_iter().for_each(|launcher| launcher.dismiss(&broker.reaper, stop));
        }
    };
    // The relay ends before the launcher lets go of its scope: a cgroup can be removed when no process is in
    // it.
    let stuck = relay.and_then(Relay::end);
    let launcher = Some(launcher).filter(|_| is_stuck);
    broker.deferred.note(&socket.rules);
    if is_stuck || stuck.is_some() || remains.is_some() {
        broker.deferred.tell();
    }
    // A relay that cannot be ended keeps its call's place, as a command that cannot be ended does.
    stuck.into_iter().for_each(|relay| relay.outlast(stop.stopping));
    remains.into_iter().for_each(|remains| remains.outlast(&socket.rules, &captures, stop));
    launcher.into_iter().for_each(|launcher| launcher.outlast(stop));
}
