//! What a thread does that answers: a request, and after it those who waited for its place. Whatever fails on
//! the way, each is answered, with a record, and no place is lost. `walk.rs` has the order of one call.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::broker::admission::RunSlot;
use crate::broker::admitted::{AdmittedCall, AllowedCall};
use crate::broker::notice::Notice;
use crate::broker::request::ClientRequest;
use crate::broker::state::{Broker, ServedSocket};
use crate::refusal::Refusal;
use crate::spawn::{Launcher, Relay};
use crate::wire::{Reply, Status};

use super::walk::{CallStage, DecodedRequest, EndedCall, ask, refuse, refuse_more, run, turn_out};

/// Answers the request that waits on a connection, and after it the calls that waited for its place.
pub(in crate::broker) fn answer(broker: &Broker, socket: &ServedSocket, mut client: ClientRequest) {
    // Whatever fails in here, its caller is answered, and that is on record.
    let asked = catch_unwind(AssertUnwindSafe(|| ask(broker, socket, &mut client)));
    let allowed = match asked.unwrap_or(Err(Refusal::Failed)) {
        Ok(DecodedRequest::Call(allowed)) => allowed,
        Ok(DecodedRequest::List(text)) => {
            return match broker.record_listing(socket, client.caller.clone()) {
                Ok(()) => {
                    client.reply(&Reply::Listing(text));
                    refuse_more(broker, socket, &client);
                }
                Err(refusal) => refuse(broker, socket, &client, &refusal),
            };
        }
        Ok(DecodedRequest::Nothing) => return,
        Err(refusal) => return refuse(broker, socket, &client, &refusal),
    };
    let policy = allowed.policy.clone();
    match socket.admission.enter(AdmittedCall { client, allowed }) {
        Some((ticket, admitted)) => take_turns(broker, socket, ticket, admitted),
        // Rules that came in between were not asked about a guest who was not there yet.
        None if !Arc::ptr_eq(&policy, &socket.rules.policy()) => broker.need_waiting_job(socket),
        None => {}
    }
}

/// Looks after those who wait for a place: by the rules in force they may be refused, or have one now.
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

/// Runs a call that has a place, and after it those who waited for that.
fn take_turns(broker: &Broker, socket: &ServedSocket, mut ticket: RunSlot, mut admitted: AdmittedCall) {
    loop {
        broker.note_change();
        let next = match execute(broker, socket, admitted) {
            None => socket.admission.leave(&ticket),
            Some(other) => socket.admission.trade(&ticket, other),
        };
        broker.note_change();
        if next.others {
            broker.need_waiting_job(socket);
        }
        let Some(placed) = next.placed else { return };
        (ticket, admitted) = placed;
    }
}

/// Runs an admitted call and answers it. Gives it back when it is another rule's by now, whose place it has
/// to have.
fn execute(broker: &Broker, socket: &ServedSocket, admitted: AdmittedCall) -> Option<AdmittedCall> {
    let AdmittedCall { mut client, mut allowed } = admitted;
    let mut stage = CallStage::Asked;
    let work = AssertUnwindSafe(|| run_and_answer(broker, socket, &mut client, &mut allowed, &mut stage));
    let rest = match catch_unwind(work) {
        Ok(None) => return Some(AdmittedCall { client, allowed }),
        Ok(rest) => rest,
        Err(_) => {
            answer_failed(broker, socket, &client, stage);
            None
        }
    };
    if rest.as_ref().is_some_and(|rest| rest.ended.is_some()) {
        refuse_more(broker, socket, &client);
    }
    drop(client);
    // Its place, and those who wait for it, must not be lost with a thread.
    let finished = AssertUnwindSafe(|| rest.into_iter().for_each(|rest| finish(broker, socket, rest)));
    if catch_unwind(finished).is_err() {
        (broker.say)(&Notice::CallLost(&io::ErrorKind::Other.into()));
    }
    None
}

/// What a request leaves to do when it has been answered.
struct AfterAnswer {
    launcher: Option<Launcher>,
    /// If it ran, or nearly.
    ended: Option<EndedCall>,
}

/// A part of the broker failed. What was on record as started is on record as lost by now.
fn answer_failed(broker: &Broker, socket: &ServedSocket, client: &ClientRequest, stage: CallStage) {
    (broker.say)(&Notice::CallLost(&io::ErrorKind::Other.into()));
    match stage {
        CallStage::Asked => refuse(broker, socket, client, &Refusal::Failed),
        CallStage::Started => client.reply(&Reply::Status(Status::AUDIT)),
        CallStage::Answered => {}
    }
}

/// Nothing was answered when it gives nothing: the call needs another place.
fn run_and_answer(
    broker: &Broker,
    socket: &ServedSocket,
    client: &mut ClientRequest,
    allowed: &mut AllowedCall,
    stage: &mut CallStage,
) -> Option<AfterAnswer> {
    let mut launcher = None;
    let ended = match run(broker, socket, client, allowed, &mut launcher, stage) {
        Ok(None) => return None,
        Ok(Some(ended)) => Ok(ended),
        Err(refusal) => Err(refusal),
    };
    match &ended {
        Ok(EndedCall { status, call, why: Some(why), .. }) => client.reply_why(*status, Some(*call), why),
        Ok(EndedCall { status, .. }) => client.reply(&Reply::Status(*status)),
        Err(refusal) => refuse(broker, socket, client, refusal),
    }
    *stage = CallStage::Answered;
    Some(AfterAnswer { launcher, ended: ended.ok() })
}

/// What is left to do when the caller has its answer.
fn finish(broker: &Broker, socket: &ServedSocket, AfterAnswer { launcher, ended }: AfterAnswer) {
    let stop = broker.events.as_stop();
    let Some(EndedCall { captures, relay, remains, is_stuck, .. }) = ended else {
        // A launcher that cannot let go of its descriptors keeps its call's place, so that no caller has more
        // of them than calls.
        return launcher.into_iter().for_each(|launcher| launcher.dismiss(&broker.reaper, stop));
    };
    // Before its scope is let go of: a group in which nobody is left can be removed.
    let stuck = relay.and_then(Relay::end);
    let launcher = launcher.filter(|_| is_stuck);
    broker.deferred.note(&socket.rules);
    if is_stuck || stuck.is_some() || remains.is_some() {
        broker.deferred.tell();
    }
    // It keeps its call's place as such a command does.
    stuck.into_iter().for_each(|relay| relay.outlast(stop.stopping));
    remains.into_iter().for_each(|remains| remains.outlast(&socket.rules, &captures, stop));
    launcher.into_iter().for_each(|launcher| launcher.outlast(stop));
}
