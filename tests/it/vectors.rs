//! The test vectors of the wire protocol, as other implementations read them.

use std::fs;

use sluice::wire::v2::{
    CallEnd, EndFlags, Frame, FrameReader, ListFormat, PipedRequest, signal_of, signal_order,
};
use sluice::wire::{self, Explanation, Malformed, Reply, Status};

/// The bytes of each vector, by name.
fn vectors() -> Vec<(String, Vec<u8>)> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/wire.hex"));
    let text = text.expect("the vectors");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(':').expect("name: bytes")).map(vector).collect()
}

fn vector((name, digits): (&str, &str)) -> (String, Vec<u8>) {
    let digits: Vec<_> = digits.bytes().filter(|digit| !digit.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect(name);
    (name.into(), digits.chunks(2).map(byte).collect())
}

fn words(words: &[&str]) -> Vec<sluice::ids::ClaimedWord> {
    words.iter().map(|word| sluice::ids::ClaimedWord::new(*word).expect("no NUL")).collect()
}

fn done(status: Status, signal: i32, flags: &[EndFlags]) -> Vec<u8> {
    let flags = flags.iter().fold(EndFlags::default(), |all, flag| all.with(*flag, true));
    let signal = Some(signal).filter(|&signal| signal != 0);
    Frame::Done(CallEnd { status, signal, flags, microseconds: 1000 }).encode()
}

/// What this implementation makes of the message that a vector's name stands for.
fn made(name: &str) -> Option<Vec<u8>> {
    use nix::sys::signal::Signal;
    let frame = |frame: Frame| frame.encode();
    Some(match name {
        "v1-request-call" => wire::Request::Call(words(&["echo", "hi"])).encode()?,
        "v1-request-list" => wire::Request::List.encode()?,
        "v1-reply-0" => Reply::Status(Status::exited(0)).encode(),
        "v1-reply-7" => Reply::Status(Status::exited(7)).encode(),
        "v1-reply-timeout" => Reply::Status(Status::TIMEOUT).encode(),
        "v1-reply-listing" => Reply::Listing("true\n".into()).encode(),
        "v1-explanation" => Explanation::new(Some(7), "no").encode(),
        "v2-request-call" => PipedRequest::Call(words(&["true"])).encode()?,
        "v2-request-call-empty" => PipedRequest::Call(words(&["a", ""])).encode()?,
        "v2-request-call-utf8" => PipedRequest::Call(words(&["caf\u{e9}"])).encode()?,
        "v2-request-list-text" => PipedRequest::List(ListFormat::Text).encode()?,
        "v2-request-list-json" => PipedRequest::List(ListFormat::Json).encode()?,
        "v2-frame-queued" => frame(Frame::Queued { limit: 64 }),
        "v2-frame-started" => frame(Frame::Started { call: 7 }),
        "v2-frame-done-0" => done(Status::exited(0), 0, &[]),
        "v2-frame-done-signal" => done(Status::signaled(9), 9, &[]),
        "v2-frame-done-timeout" => done(Status::TIMEOUT, 15, &[EndFlags::TIMED_OUT, EndFlags::HUNG_UP]),
        "v2-frame-done-oom" => done(Status::signaled(9), 9, &[EndFlags::OUT_OF_MEMORY]),
        "v2-frame-refused" => frame(Frame::Refused { status: Status::NO_RULE, reason: "no".into() }),
        "v2-frame-listing" => frame(Frame::Listing("true\n".into())),
        "v2-control-int" => signal_order(Signal::SIGINT).into(),
        "v2-control-term" => signal_order(Signal::SIGTERM).into(),
        "v2-control-winch" => signal_order(Signal::SIGWINCH).into(),
        "v2-control-tstp" => signal_order(Signal::SIGTSTP).into(),
        "v2-control-cont" => signal_order(Signal::SIGCONT).into(),
        _ => return None,
    })
}

/// What this implementation reads in a vector's bytes, written again.
fn read_again(name: &str, bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let name = name.strip_prefix("no-").unwrap_or(name);
    let encoded = |bytes: Option<Vec<u8>>| Ok(bytes.expect("what was decoded can be encoded"));
    match name {
        _ if name.starts_with("v1-request") => encoded(wire::Request::decode(bytes)?.encode()),
        _ if name.starts_with("v1-reply") => Ok(Reply::decode(bytes)?.encode()),
        "v1-explanation" => Ok(Explanation::decode(bytes)?.encode()),
        _ if name.starts_with("v2-request") => encoded(PipedRequest::decode(bytes)?.encode()),
        _ if name.starts_with("v2-control") => {
            let order = bytes.try_into().map_err(|_| Malformed::Truncated)?;
            Ok(signal_of(order).map(|signal| signal_order(signal).to_vec()).unwrap_or_default())
        }
        _ => {
            let mut reader = FrameReader::new();
            reader.push(bytes);
            Ok(reader.next_frame()?.map(|frame| frame.encode()).unwrap_or_default())
        }
    }
}

#[test]
fn this_implementation_writes_and_reads_each_vector() {
    let vectors: Vec<_> = vectors().into_iter().filter(|(name, _)| !name.starts_with("no-")).collect();
    assert!(vectors.len() >= 25, "{}", vectors.len());
    for (name, bytes) in vectors {
        assert_eq!(made(&name), Some(bytes.clone()), "{name}");
        assert_eq!(read_again(&name, &bytes), Ok(bytes), "{name}");
    }
}

#[test]
fn what_is_malformed_is_refused() {
    let malformed: Vec<_> = vectors().into_iter().filter(|(name, _)| name.starts_with("no-")).collect();
    assert!(malformed.len() >= 16, "{}", malformed.len());
    for (name, bytes) in malformed {
        assert!(read_again(&name, &bytes).is_err(), "{name}");
    }
}
