//! Descriptors: which are taken, which are refused, and that none stays or wanders.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc::{O_DIRECTORY, O_PATH};
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

use crate::harness::{
    Broker, Connection, Pid, Reply, SHELL, SOON, Status, frame, is_root, many_in_flight, within,
};

fn null() -> File {
    File::options().read(true).write(true).open("/dev/null").expect("there is /dev/null")
}

/// A pipe that is full; nobody reads it.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (read, mut write) = std::io::pipe().expect("a pipe can be made");
    set_flags(write.as_fd(), OFlag::O_NONBLOCK);
    while write.write(&[0; 4096]).is_ok() {}
    set_flags(write.as_fd(), OFlag::empty());
    (read, write)
}

fn set_flags(fd: BorrowedFd<'_>, flags: OFlag) {
    fcntl(fd, FcntlArg::F_SETFL(flags)).expect("an open descriptor takes flags");
}

fn flags(fd: BorrowedFd<'_>) -> OFlag {
    OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL).expect("an open descriptor has flags"))
}

#[test]
fn any_other_number_of_descriptors_than_three_is_refused() {
    let broker = Broker::new("/bin/echo a\n").start();
    let (descriptors, threads) = (broker.descriptors(), broker.threads());
    let null = null();
    for count in [0, 1, 2, 4, 5, 16, 253] {
        broker
            .raw(&frame(&["/bin/echo", "a"]), &vec![null.as_fd(); count])
            .refused(Status::FDS)
            .audited([&*format!("reject reason=fds status=-3 uid pid={}", std::process::id())]);
    }
    broker.comes_back_to(descriptors, threads);
    broker.call(["/bin/echo", "a"]).exited(0);
}

#[test]
fn a_directory_is_refused_in_every_place() {
    let broker = Broker::new("/bin/echo a\n").start();
    let directory = File::options().read(true).custom_flags(O_DIRECTORY).open("/").expect("there is a root");
    refused_in_every_place(&broker, directory.as_fd());
}

#[test]
fn a_descriptor_that_names_without_opening_is_refused_in_every_place() {
    for path in ["/", "/etc/passwd", "/dev/null"] {
        let broker = Broker::new("/bin/echo a\n").start();
        let named = File::options().read(true).custom_flags(O_PATH).open(path).expect("the path exists");
        refused_in_every_place(&broker, named.as_fd());
    }
}

#[test]
fn what_is_no_stdio_is_refused_in_every_place_whoever_would_take_it() {
    use nix::sys::epoll::{Epoll, EpollCreateFlags};
    use nix::sys::eventfd::EventFd;
    use nix::sys::inotify::{InitFlags, Inotify};
    use nix::sys::signal::SigSet;
    use nix::sys::signalfd::SignalFd;
    let event = EventFd::new().expect("an eventfd");
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("an epoll");
    let watch = Inotify::init(InitFlags::empty()).expect("an inotify");
    let signals = SignalFd::new(&SigSet::empty()).expect("a signalfd");
    let namespace = File::open("/proc/self/ns/mnt").expect("a namespace");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    for more in ["", "  stdoutfile = @DIR@/audit/c#$call.out\n"] {
        let broker = Broker::new(&format!("defaults:\n{more}  timeout = 20s\n\n/bin/echo a\n")).start();
        refused_in_every_place(&broker, event.as_fd());
        refused_in_every_place(&broker, epoll.0.as_fd());
        refused_in_every_place(&broker, watch.as_fd());
        refused_in_every_place(&broker, signals.as_fd());
        refused_in_every_place(&broker, namespace.as_fd());
        refused_in_every_place(&broker, listener.as_fd());
    }
}

fn refused_in_every_place(broker: &Broker, fd: BorrowedFd<'_>) {
    let null = null();
    for place in 0..3 {
        let mut fds = [null.as_fd(); 3];
        fds[place] = fd;
        broker
            .raw(&frame(&["/bin/echo", "a"]), &fds)
            .refused(Status::FDS)
            .audited(["reject reason=fds status=-3"]);
    }
}

#[test]
fn sockets_and_files_are_passed_on() {
    let broker = Broker::new("/bin/cat\n").start();
    let (near, far) = std::os::unix::net::UnixStream::pair().expect("a pair can be made");
    let rules = File::open(broker.rules_path()).expect("the rules can be read");
    broker.request(&["/bin/cat"]).given(0, rules).given(1, far).run().exited(0);
    let text = std::io::read_to_string(near).expect("a socket can be read");
    assert_eq!(text, broker.rules());
}

#[test]
fn two_halves_of_the_descriptors_in_two_control_messages_are_three() {
    let broker = Broker::new("/bin/echo a\n").start();
    let null = null();
    let connection = broker.connect();
    let (two, one) = ([null.as_raw_fd(); 2], [null.as_raw_fd()]);
    let rights = [ControlMessage::ScmRights(&two), ControlMessage::ScmRights(&one)];
    let bytes = frame(&["/bin/echo", "a"]);
    let message = [std::io::IoSlice::new(&bytes)];
    let fd = connection.as_fd().as_raw_fd();
    let send = || sendmsg::<UnixAddr>(fd, &message, &rights, MsgFlags::empty(), None).ok();
    within(SOON, "the kernel joins them", send);
    let reply = connection.reply();
    assert!([Status(0), Status::FDS].map(Reply::Status).contains(&reply), "{reply:?}");
    broker.serves_on();
}

#[test]
fn the_command_has_three_descriptors_and_no_other() {
    let opened = ["bash", "-c", "exec 7</dev/null 200</etc/passwd; exec \"$@\"", "bash"];
    let broker = Broker::new("/bin/ls /proc/self/fd\n").under(&opened).start();
    broker.call(["/bin/ls", "/proc/self/fd"]).exited(0).printed("0\n1\n2\n3\n");
}

#[test]
fn one_call_holds_nothing_of_another() {
    let broker = Broker::shell();
    let mut first = broker.request(&["/bin/sh", "-c", "echo up; cat"]).stdin_open().begin();
    first.line();
    let mut second = broker.request(&["/bin/sh", "-c", "echo up; cat"]).stdin_open().begin();
    second.line();
    first.close_stdin();
    first.outputs_end();
    first.wait().exited(0);
    assert!(!second.is_answered());
    second.close_stdin();
    second.wait().exited(0);
}

#[test]
fn the_flags_of_the_callers_descriptors_stay_as_they_were() {
    let broker = Broker::shell();
    for want in [OFlag::empty(), OFlag::O_NONBLOCK] {
        let (_reader, write) = std::io::pipe().expect("a pipe can be made");
        set_flags(write.as_fd(), want);
        let ours: OwnedFd = write.as_fd().try_clone_to_owned().expect("a descriptor can be duplicated");
        broker.request(&["/bin/sh", "-c", "echo a"]).given(1, write).run().exited(0);
        assert_eq!(flags(ours.as_fd()) & OFlag::O_NONBLOCK, want);
    }
}

#[test]
fn a_stdout_that_nobody_reads_delays_neither_timeout_nor_record() {
    let broker = Broker::new("/usr/bin/yes\n  timeout = 300ms\n").start();
    let (_reader, write) = full_pipe();
    broker
        .request(&["/usr/bin/yes"])
        .given(1, write)
        .run()
        .refused(Status::TIMEOUT)
        .took(Duration::from_millis(300), Duration::from_secs(4))
        .audited(["start", "exit timed_out=true status=-7"]);
}

#[test]
fn a_reader_that_leaves_ends_an_endless_writer() {
    let broker = Broker::new("/usr/bin/yes\n  timeout = 20s\n").start();
    let mut call = broker.request(&["/usr/bin/yes"]).begin();
    assert_eq!(call.line(), "y");
    call.close_stdout();
    call.wait().died_of(Signal::SIGPIPE).audited(["start", "exit signal=13 !timed_out"]);
}

#[test]
fn sockets_with_themselves_in_flight_are_let_go() {
    let broker = Broker::new("/bin/echo a\n").start();
    let (descriptors, threads) = (broker.descriptors(), broker.threads());
    let null = null();
    for _ in 0..200 {
        let (one, two) = UnixDatagram::pair().expect("a pair can be made");
        queue(&one, &[two.as_raw_fd(), one.as_raw_fd(), null.as_raw_fd()]);
        queue(&two, &[one.as_raw_fd()]);
        broker.raw(&frame(&["/bin/echo", "a"]), &[one.as_fd(), null.as_fd(), two.as_fd()]).exited(0);
    }
    broker.comes_back_to(descriptors, threads);
}

fn queue(socket: &UnixDatagram, fds: &[i32]) {
    let message = [std::io::IoSlice::new(b"x")];
    let rights = [ControlMessage::ScmRights(fds)];
    let send = || sendmsg::<UnixAddr>(socket.as_raw_fd(), &message, &rights, MsgFlags::empty(), None).ok();
    within(SOON, "a pair takes a message", send);
}

#[test]
fn a_connection_passed_as_its_own_stdio_is_let_go() {
    let broker = Broker::new("/bin/echo a\n").start();
    let (descriptors, threads) = (broker.descriptors(), broker.threads());
    let null = null();
    for _ in 0..50 {
        let connection = broker.connect();
        connection.send(&frame(&["/bin/echo", "a"]), &[connection.as_fd(), null.as_fd(), null.as_fd()]);
        assert_eq!(connection.reply(), Reply::Status(Status(0)));
    }
    broker.comes_back_to(descriptors, threads);
}

#[test]
fn a_flood_of_descriptors_neither_stays_nor_spins() {
    let broker = Broker::new(SHELL).under(&["prlimit", "--nofile=1024:1024", "--"]).start();
    broker.sh("true").exited(0);
    let (descriptors, threads) = (broker.descriptors(), broker.threads());
    let _many = many_in_flight();
    // Of an ordinary user's, fewer than this broker's limit.
    let size = if is_root() { 253 } else { 50 };
    let begin = |_| broker.request(&["/bin/sh", "-c", "echo up; cat"]).stdin_open().begin();
    let mut held: Vec<_> = (0..30).map(begin).collect();
    // One that has not begun may find the user's share of descriptors taken, by the flood or another program.
    held.iter_mut().for_each(|call| assert_eq!(call.line(), "up"));
    let end = Instant::now() + Duration::from_secs(2);
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| flood(&broker, size, end)))));
    held.iter_mut().for_each(crate::harness::Running::close_stdin);
    held.into_iter().for_each(|call| drop(call.wait().exited(0)));
    broker.comes_back_to(descriptors, threads);
    is_idle(&broker);
    broker.sh("echo alive").exited(0).printed("alive\n");
}

/// Four connections at a time, each with so many descriptors.
fn flood(broker: &Broker, size: usize, end: Instant) {
    let null = null();
    while Instant::now() < end {
        let connections: Vec<_> = (0..4).filter_map(|_| Connection::open(&broker.socket()).ok()).collect();
        for connection in &connections {
            connection.try_send(b"nonsense", &vec![null.as_fd(); size]);
        }
        connections.iter().for_each(|connection| drop(connection.reply()));
    }
}

/// While a command sleeps for a second, the broker uses next to no processor time; it may have to finish
/// first.
fn is_idle(broker: &Broker) {
    let pid: Pid = broker.pid();
    within(SOON, "a second without work", || {
        let before = pid.ticks();
        broker.sh("sleep 1").exited(0);
        (pid.ticks() - before < 30).then_some(())
    });
}

#[test]
fn a_count_of_descriptors_can_be_taken_by_root() {
    let broker = Broker::shell();
    assert!(broker.descriptors().is_some() || !is_root(), "root must be able to count");
}
