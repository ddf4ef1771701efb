//! Requests to a peer that answers as a broker would, or as none would.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;

use crate::wire::v2::signal_of;

use super::*;

/// What the peer does with one connection.
enum PeerPart<'a> {
    /// Takes a request, and writes these frames to its reply.
    Frames(&'a [Frame]),
    /// Takes a request, and sends these messages on the connection.
    Messages(&'a [&'a [u8]]),
    /// Closes the connection with the request in it, unread.
    Leave,
}

/// A directory with a socket on which a peer listens.
struct Peer {
    listener: OwnedFd,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Peer {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the socket");
        let path = directory.path().join("sock");
        let listener = sys::bind_listener(&path, 8).expect("it listens");
        Self { listener, path, _directory: directory }
    }

    fn address(&self) -> BrokerAddress {
        BrokerAddress::Path(self.path.clone())
    }

    /// The next connection, once a request is in it.
    fn asked(&self) -> OwnedFd {
        readable(&self.listener);
        let caller = sys::accept(self.listener.as_fd()).expect("a caller");
        readable(&caller);
        caller
    }

    fn play(&self, part: &PeerPart<'_>) {
        let caller = self.asked();
        match part {
            PeerPart::Frames(frames) => {
                let mut taken = sys::receive(caller.as_fd(), 4096).expect("a request");
                let reply = taken.descriptors.split_off(taken.descriptors.len() - 2);
                let reply = if taken.bytes[8] == 1 { &reply[0] } else { &reply[1] };
                // In one piece: a caller is gone once it has read a last frame, whatever comes after it.
                let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
                sys::write(reply.as_fd(), &bytes).expect("there is room");
            }
            PeerPart::Messages(messages) => {
                sys::receive(caller.as_fd(), 4096).expect("a request");
                // A caller that needs one message only may be gone before the second.
                messages.iter().for_each(|message| drop(sys::send(caller.as_fd(), message, &[])));
            }
            PeerPart::Leave => {}
        }
    }
}

fn readable(fd: &OwnedFd) {
    let mut looked_at = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let deadline = Instant::now().checked_add(Duration::from_secs(30));
    assert!(sys::poll_until(&mut looked_at, deadline).expect("it can be waited for"), "nothing comes");
}

fn write(reply: &OwnedFd, frame: &Frame) {
    sys::write(reply.as_fd(), &frame.encode()).expect("there is room");
}

fn end(status: i32) -> Frame {
    let (status, flags) = (Status::from_wire(status), EndFlags::default());
    Frame::Done(CallEnd { status, signal: None, flags, microseconds: 9 })
}

fn call(address: BrokerAddress) -> Result<PendingRequest<BorrowedFd<'static>>, CallFailure> {
    PendingRequest::call(address, &["true".into()], sys::stdio())
}

/// Checks all that a call comes to, with a peer that plays these parts on one connection after the other.
fn check(parts: &[PeerPart<'_>], want: &str) {
    let peer = Peer::new();
    let got = thread::scope(|scope| {
        scope.spawn(|| parts.iter().for_each(|part| peer.play(part)));
        events(call(peer.address()))
    });
    assert_eq!(got, want);
}

/// The events of a request up to the last, and its failure, in one line.
fn events(request: Result<PendingRequest<BorrowedFd<'static>>, CallFailure>) -> String {
    let mut seen = Vec::new();
    let failure = request.and_then(|mut request| follow(&mut request, &mut seen)).err();
    let seen = seen.iter().map(shown).chain(failure.map(|failure| format!("{failure:?}")));
    seen.collect::<Vec<_>>().join(", ")
}

fn follow(
    request: &mut PendingRequest<BorrowedFd<'static>>,
    seen: &mut Vec<RequestEvent>,
) -> Result<(), CallFailure> {
    let mut ready = ReadyEnds::ALL;
    loop {
        match request.advance(ready)? {
            Some(event) => {
                let is_last = matches!(event, RequestEvent::Ended(_) | RequestEvent::Listing(_));
                seen.push(event);
                if is_last {
                    return Ok(());
                }
                ready = ReadyEnds::NONE;
            }
            None => ready = request.wait(None).expect("it can be waited for"),
        }
    }
}

fn shown(event: &RequestEvent) -> String {
    match event {
        RequestEvent::Queued { limit } => format!("queued {limit}"),
        RequestEvent::Started { call } => format!("started {call}"),
        RequestEvent::Ended(end) => format!("ended {} {}us", end.status, end.microseconds),
        RequestEvent::Listing(text) => format!("listing {text}"),
    }
}

const PROTO: &[u8] = b"XCLS\x01\0\0\0\xfe\xff\xff\xff";
const NO_RULE: &[u8] = b"XCLS\x01\0\0\0\xff\xff\xff\xff";
const WHY: &[u8] = b"XCLS\x01\0\0\0\x09\0\0\0\0\0\0\0\x02\0\0\0no";
const SEVEN: &[u8] = b"XCLS\x01\0\0\0\x07\0\0\0";

#[test]
fn frames_become_events_up_to_the_last() {
    let frames = [Frame::Queued { limit: 64 }, Frame::Started { call: 3 }, end(7), end(8)];
    check(&[PeerPart::Frames(&frames)], "queued 64, started 3, ended 7 9us");
}

#[test]
fn a_refusal_after_the_start_has_the_calls_number() {
    let refused = Frame::Refused { status: Status::SPAWN, reason: "chdir".into() };
    check(
        &[PeerPart::Frames(&[Frame::Started { call: 3 }, refused])],
        "started 3, Refused(Status(-4), Some(Explanation { call: Some(3), reason: \"chdir\" }))",
    );
}

#[test]
fn a_refusals_number_is_taken_out_of_its_reason() {
    let check = |reason: &str, want: &str| {
        let refused = Frame::Refused { status: Status::NO_RULE, reason: reason.into() };
        check(
            &[PeerPart::Frames(&[refused])],
            &format!("Refused(Status(-1), Some(Explanation {{ {want} }}))"),
        );
    };
    check("call 7: no", "call: Some(7), reason: \"no\"");
    check("call it: no", "call: None, reason: \"call it: no\"");
    check("no", "call: None, reason: \"no\"");
}

#[test]
fn a_broker_of_version_1_is_asked_in_it() {
    check(&[PeerPart::Messages(&[PROTO]), PeerPart::Messages(&[SEVEN])], "ended 7 0us");
    check(
        &[PeerPart::Messages(&[PROTO, WHY]), PeerPart::Messages(&[NO_RULE, WHY])],
        "Refused(Status(-1), Some(Explanation { call: Some(9), reason: \"no\" }))",
    );
    check(&[PeerPart::Messages(&[PROTO]), PeerPart::Messages(&[])], "Unanswered");
}

#[test]
fn an_answer_on_the_connection_is_one() {
    check(
        &[PeerPart::Messages(&[NO_RULE, WHY])],
        "Refused(Status(-1), Some(Explanation { call: Some(9), reason: \"no\" }))",
    );
    check(&[PeerPart::Messages(&[b"hello"])], "Unreadable(Magic(1819043176))");
}

#[test]
fn a_broker_that_did_not_hear_is_followed_by_the_next_once() {
    let heard = PeerPart::Frames(&[Frame::Started { call: 1 }, end(7)]);
    check(&[PeerPart::Leave, heard], "started 1, ended 7 9us");
    let reset = io::Error::from(Errno::ECONNRESET);
    check(&[PeerPart::Leave, PeerPart::Leave], &format!("Unsent({reset:?})"));
}

#[test]
fn a_broker_that_went_away_is_not_asked_again() {
    check(&[PeerPart::Frames(&[])], "Unanswered");
    check(&[PeerPart::Frames(&[Frame::Started { call: 3 }])], "started 3, Unanswered");
}

#[test]
fn a_reply_that_ends_on_an_open_connection_is_not_waited_for() {
    let peer = Peer::new();
    thread::scope(|scope| {
        let caller = scope.spawn(|| events(call(peer.address())));
        let broker = peer.asked();
        drop(sys::receive(broker.as_fd(), 4096).expect("a request"));
        assert_eq!(caller.join().expect("no panic"), "Unanswered");
    });
}

#[test]
fn signals_come_out_of_control_and_its_end_is_the_callers() {
    let peer = Peer::new();
    let request = call(peer.address()).expect("it is sent");
    let broker = peer.asked();
    let taken = sys::receive(broker.as_fd(), 4096).expect("a request");
    let [.., control] = &taken.descriptors[..] else { panic!("five descriptors") };
    assert!(request.forward(Signal::SIGWINCH) && !request.is_version_1());
    let mut order = [0; 8];
    assert_eq!(sys::read(control.as_fd(), &mut order).expect("an order"), 8);
    assert_eq!(signal_of(order), Some(Signal::SIGWINCH));
    drop(request);
    assert_eq!(sys::read(control.as_fd(), &mut order).expect("the end"), 0);
}

#[test]
fn a_caller_that_hangs_up_hears_the_end_all_the_same() {
    let peer = Peer::new();
    let mut request = call(peer.address()).expect("it is sent");
    let broker = peer.asked();
    let taken = sys::receive(broker.as_fd(), 4096).expect("a request");
    let [.., reply, control] = &taken.descriptors[..] else { panic!("five descriptors") };
    assert!(request.hang_up() && !request.hang_up() && !request.forward(Signal::SIGINT));
    assert_eq!(sys::read(control.as_fd(), &mut [0; 8]).expect("the end"), 0);
    write(reply, &end(7));
    assert_eq!(events(Ok(request)), "ended 7 9us");
}

#[test]
fn a_connection_carries_many_requests_at_once() {
    let peer = Peer::new();
    let shared = SharedConnection::open(&peer.path).expect("it listens");
    let ask = || call(BrokerAddress::Open(shared.clone())).expect("it is sent");
    let (first, second) = (ask(), ask());
    let broker = peer.asked();
    let replies: Vec<_> = [1, 2]
        .map(|_| sys::receive(broker.as_fd(), 4096).expect("a request").descriptors.remove(3))
        .into_iter()
        .collect();
    write(&replies[1], &end(2));
    write(&replies[0], &end(1));
    assert_eq!(events(Ok(first)), "ended 1 9us");
    assert_eq!(events(Ok(second)), "ended 2 9us");
}

#[test]
fn what_is_answered_on_a_shared_connection_stays_there() {
    let peer = Peer::new();
    let shared = SharedConnection::open(&peer.path).expect("it listens");
    let request = call(BrokerAddress::Open(shared.clone()));
    peer.play(&PeerPart::Messages(&[PROTO]));
    assert_eq!(events(request), "Version1Only");
    let mut message = [0; 64];
    assert_eq!(sys::receive_now(shared.as_fd(), &mut message).expect("it is there"), PROTO.len());
}

#[test]
fn a_listing_is_asked_for_in_both_formats() {
    let peer = Peer::new();
    let list = |format| PendingRequest::<BorrowedFd<'static>>::list(peer.address(), format);
    for format in [ListFormat::Text, ListFormat::Json] {
        let request = list(format);
        let caller = peer.asked();
        let taken = sys::receive(caller.as_fd(), 64).expect("a request");
        assert_eq!(PipedRequest::decode(&taken.bytes), Ok(PipedRequest::List(format)));
        write(&taken.descriptors[0], &Frame::Listing("true\n".into()));
        assert_eq!(events(request), "listing true\n");
    }
    let request = list(ListFormat::Json);
    peer.play(&PeerPart::Messages(&[PROTO]));
    assert_eq!(events(request), "Version1Only");
}

#[test]
fn a_deadline_ends_a_wait_and_not_the_request() {
    let peer = Peer::new();
    let mut request = call(peer.address()).expect("it is sent");
    assert!(matches!(request.wait_for_end(Some(Instant::now())), Ok(None)) && request.is_untaken());
    peer.play(&PeerPart::Frames(&[Frame::Started { call: 3 }, end(7)]));
    let ended = request.wait_for_end(None).expect("an end");
    assert!(matches!(ended, Some(RequestEvent::Ended(_))) && request.number() == Some(3), "{ended:?}");
}
