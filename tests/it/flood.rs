//! Callers that ask for what no rule allows, as fast as they can: what they put on record is bounded over
//! time, each refusal is counted, and another socket's records are not touched.

use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{
    Broker, Connection, MAGIC, Record, SOON, Status, VERSION, frame, header, needs, within,
};

/// How long callers ask.
const FLOOD: Duration = Duration::from_secs(3);

/// What a socket may write at once, and in each second, beside a record a second that counts the others.
const BURST: u64 = 256 * 1024;
const PER_SECOND: u64 = 30 * 1024;

/// Sends messages as fast as they are answered, and gives how many that were.
fn flood(socket: &Path, message: impl Fn(u64) -> Vec<u8>) -> u64 {
    let null = fs::File::options().read(true).write(true).open("/dev/null").expect("there is /dev/null");
    let fds: [BorrowedFd<'_>; 3] = [null.as_fd(); 3];
    let (until, mut sent) = (Instant::now() + FLOOD, 0);
    while Instant::now() < until {
        let connection = Connection::open(socket).expect("the broker listens");
        connection.send(&message(sent), &fds);
        connection.reply();
        sent += 1;
    }
    sent
}

/// Words that take much more room in a record than in a message.
fn large(number: u64) -> Vec<u8> {
    let pad = "\u{1}".repeat(4090);
    frame(&["/bin/true", &*number.to_string(), &*pad, &*pad])
}

fn counted(records: &[Record]) -> u64 {
    records.iter().map(|record| record.get("count").as_u64().unwrap_or(1)).sum()
}

/// The bytes on record, once as many refusals are.
fn bytes_of(broker: &Broker, refusals: u64) -> u64 {
    within(SOON, "each refusal is on record", || {
        (counted(&broker.records_of("reject")) == refusals).then_some(())
    });
    fs::metadata(broker.manifest_path()).expect("there is a manifest").len()
}

#[track_caller]
fn is_bounded(bytes: u64, sockets: u64) {
    let seconds = FLOOD.as_secs() + 1;
    assert!(bytes < sockets * (BURST + seconds * PER_SECOND), "{bytes} bytes in {seconds} s");
}

#[test]
fn refusals_that_differ_are_bounded_over_time_and_all_are_counted() {
    let broker = Broker::new("/bin/true\n").start();
    let sent = flood(&broker.socket(), large);
    is_bounded(bytes_of(&broker, sent), 1);
    let many = broker.record("reject reason=many count last reasons pids uids !argv !status");
    assert_eq!(many.get("reasons")["no_rule"], many.number("count"), "{many}");
    assert_eq!(many.get("pids")[0], std::process::id(), "{many}");
    assert!(many.number("last") - many.number("call") + 1 >= many.number("count"), "{many}");
    let call = broker.call(["/bin/true"]).exited(0).record("start").number("call");
    assert_eq!(call, sent + 1, "each refusal had a number");
}

#[test]
fn small_and_malformed_messages_are_bounded_too() {
    let broker = Broker::new("/bin/true\n").start();
    let small = flood(&broker.socket(), |number| frame(&["/bin/nope", &*number.to_string()]));
    let bytes = bytes_of(&broker, small);
    is_bounded(bytes, 1);
    let records = broker.records_of("reject").len();
    assert!(records < 200, "{records} records, each of which is an entry of the journal too");
    let garbage = flood(&broker.socket(), |number| vec![7; usize::try_from(number % 64).expect("small") + 1]);
    is_bounded(bytes_of(&broker, small + garbage) - bytes, 1);
}

#[test]
fn listings_are_on_record_and_bounded() {
    let broker = Broker::new("/bin/true\n").start();
    broker.listing();
    let first = broker.record("list !call socket=it !count");
    assert_eq!(first.number("pid"), u64::from(std::process::id()), "{first}");
    let sent = flood(&broker.socket(), |_| header(MAGIC, VERSION, 0));
    within(SOON, "each listing is on record", || {
        (counted(&broker.records_of("list")) == sent + 1).then_some(())
    });
    let records = broker.records_of("list").len();
    assert!(records < 3 * (usize::try_from(FLOOD.as_secs()).expect("small") + 2), "{records} records");
    broker.call(["/bin/true"]).exited(0).audited(["start call=1", "exit"]);
}

#[test]
fn a_flood_at_one_socket_costs_another_no_record() {
    if !needs("systemd-socket-activate", "systemd") {
        return;
    }
    let broker = Broker::new("/bin/true\n").activated(&["loud", "calm"]).start();
    let (loud, calm) = (broker.socket_of("loud"), broker.socket_of("calm"));
    let refused = 20;
    let sent = std::thread::scope(|scope| {
        let loud = scope.spawn(|| flood(&loud, large));
        for number in 0..refused {
            let words = ["/bin/nope".to_owned(), format!("calm{number}")];
            broker.request(&words).over(&calm).quick().run().refused(Status::NO_RULE);
            broker.request(&["/bin/true"]).over(&calm).quick().run().exited(0);
        }
        loud.join().expect("it does not fail")
    });
    bytes_of(&broker, sent + refused);
    let calm = broker.records_of("reject socket=calm !count");
    assert_eq!(u64::try_from(calm.len()).expect("few"), refused, "each has a record of its own");
    assert_eq!(u64::try_from(broker.records_of("start").len()).expect("few"), refused);
    assert!(broker.records_of("reject socket=loud reason=many").len() > 1);
}
