//! A connection to a message bus without threads of its own. zbus works with futures: the calling thread
//! polls them here, and waits for the socket in between, until a deadline.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Instant;

use futures_core::Stream;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::UnixAddr;
use zbus::address::transport::{Transport, UnixSocket};
use zbus::connection::Builder;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::message::Message;
use zbus::{Connection, Executor, MessageStream};

use crate::limits::{BUS_BUFFER_BYTES, SEND_RETRY};
use crate::sys::{self, Locked};

/// A connection.
#[derive(Debug)]
pub(super) struct BusTransport {
    connection: Connection,
    socket_end: Arc<SocketEnd>,
}

impl BusTransport {
    /// Connects, and does the bus's handshake.
    /// Errors: those of `connect(2)`, of the bus, `TimedOut`; the address is not a unix socket's.
    pub(super) fn connect(address: &str, until: Instant) -> zbus::Result<Self> {
        let stream = reach(&place(address)?, until)?;
        let socket_end =
            Arc::new(SocketEnd { stream, reading: Locked::default(), writing: Locked::default() });
        let builder = Builder::socket(BusSocket(socket_end.clone())).internal_executor(false);
        let connection = drive(&socket_end, None, builder.build(), until)?;
        Ok(Self { connection, socket_end })
    }

    /// Calls a method over the bus, and waits for the answer.
    /// Errors: the other side's, `TimedOut`.
    pub(super) fn call<B: serde::Serialize + zbus::zvariant::DynamicType>(
        &self,
        (to, path, interface): (&str, &str, &str),
        member: &str,
        body: &B,
        until: Instant,
    ) -> zbus::Result<Message> {
        let call = self.connection.call_method(Some(to), path, Some(interface), member, body);
        drive(&self.socket_end, Some(self.connection.executor()), call, until)
    }

    /// Sends a message, and waits until the socket has room for it. No message is read meanwhile.
    pub(super) fn send(&self, message: &Message, until: Instant) -> zbus::Result<()> {
        drive(&self.socket_end, None, self.connection.send(message), until)
    }

    /// A stream that keeps the messages that come from now on, for [`Self::receive`].
    pub(super) fn listen(&self) -> MessageStream {
        MessageStream::from(&self.connection)
    }

    /// The messages that have come, without waiting.
    /// Errors: the connection is over.
    pub(super) fn receive(&self, heard: &mut MessageStream) -> zbus::Result<Vec<Message>> {
        let mut messages = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        self.socket_end.wake(&self.socket_end.reading);
        while work(self.connection.executor(), &mut context) {
            while let Poll::Ready(next) = Pin::new(&mut *heard).poll_next(&mut context) {
                messages
                    .push(next.unwrap_or_else(|| Err(io::Error::from(io::ErrorKind::BrokenPipe).into()))?);
            }
        }
        Ok(messages)
    }
}

impl AsFd for BusTransport {
    /// Readable when there are messages to receive.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket_end.stream.as_fd()
    }
}

/// The socket that an address names.
fn place(address: &str) -> zbus::Result<UnixAddr> {
    let address: zbus::Address = address.try_into()?;
    let Transport::Unix(unix) = address.transport() else {
        return Err(zbus::Error::Address("the message bus has no unix socket".into()));
    };
    let place = if let UnixSocket::File(path) = unix.path() {
        unescape(path.as_os_str().as_bytes(), b'%').map(|path| UnixAddr::new(&path[..]))
    } else if let UnixSocket::Abstract(name) = unix.path() {
        unescape(name.as_bytes(), b'%').map(|name| UnixAddr::new_abstract(&name))
    } else {
        None
    };
    let place = place.ok_or_else(|| zbus::Error::Address("it names no socket".into()))?;
    place.map_err(|errno| io::Error::from(errno).into())
}

/// Decodes bytes that are written as `mark` and two hexadecimal digits, which zbus does not do.
pub(super) fn unescape(text: &[u8], mark: u8) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != mark {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    Some(bytes)
}

/// Connects. While the backlog is full, tries again: a blocking `connect(2)` would wait without a limit.
fn reach(place: &UnixAddr, until: Instant) -> io::Result<UnixStream> {
    loop {
        match sys::connect_stream(place) {
            Err(source) if source.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() >= until {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                thread::sleep(SEND_RETRY);
            }
            reached => return Ok(reached?.into()),
        }
    }
}

/// Polls a future until it is ready, and runs the executor's tasks meanwhile.
/// Errors: the future's, `TimedOut`.
fn drive<T>(
    socket_end: &SocketEnd,
    beside: Option<&Executor<'_>>,
    future: impl Future<Output = zbus::Result<T>>,
    until: Instant,
) -> zbus::Result<T> {
    let woken = Arc::new(WakeFlag::default());
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
        let worked = beside.is_some_and(|executor| work(executor, &mut context));
        if !worked && !woken.0.swap(false, Ordering::SeqCst) && !socket_end.wait(until)? {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
    }
}

/// Runs the executor's tasks that need no waiting. Gives whether there were any.
fn work(executor: &Executor<'_>, context: &mut Context<'_>) -> bool {
    let mut worked = false;
    while pin!(executor.tick()).poll(context).is_ready() {
        worked = true;
    }
    worked
}

/// Whether a future that was polled wants to be polled again without an event on the socket.
#[derive(Default)]
struct WakeFlag(AtomicBool);

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Our end of the socket, and the wakers of the futures that wait for it.
#[derive(Debug)]
struct SocketEnd {
    stream: UnixStream,
    reading: Locked<Option<Waker>>,
    writing: Locked<Option<Waker>>,
}

impl SocketEnd {
    /// Waits until the socket is writable, if a future waits for that, or else readable, and wakes the
    /// futures that wait for it. `false` when the time is up.
    fn wait(&self, until: Instant) -> io::Result<bool> {
        let writes = self.writing.lock().is_some();
        let events = if writes { PollFlags::POLLOUT } else { PollFlags::POLLIN };
        let ready = sys::poll_until(&mut [PollFd::new(self.stream.as_fd(), events)], Some(until))?;
        self.wake(&self.reading);
        self.wake(&self.writing);
        Ok(ready)
    }

    fn wake(&self, who: &Locked<Option<Waker>>) {
        let waker = who.lock().take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Tries `action`, and where it would block, again after each wake.
    async fn attempt(
        &self,
        who: &Locked<Option<Waker>>,
        mut action: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        std::future::poll_fn(|context| match action(self.stream.as_fd()) {
            Err(source) if source.kind() == io::ErrorKind::WouldBlock => {
                *who.lock() = Some(context.waker().clone());
                Poll::Pending
            }
            done => Poll::Ready(done),
        })
        .await
    }
}

/// The socket as zbus takes it.
struct BusSocket(Arc<SocketEnd>);

impl Socket for BusSocket {
    type ReadHalf = BusReader;
    type WriteHalf = BusWriter;

    fn split(self) -> Split<BusReader, BusWriter> {
        let reader = BusReader {
            socket_end: self.0.clone(),
            buffer: vec![0; BUS_BUFFER_BYTES],
            unread: 0..0,
            drained: false,
        };
        Split::new(reader, BusWriter(self.0))
    }
}

/// Reads as many bytes as there are into a buffer, because zbus takes a message in two parts.
#[derive(Debug)]
struct BusReader {
    socket_end: Arc<SocketEnd>,
    buffer: Vec<u8>,
    unread: Range<usize>,
    /// Whether the last read emptied the socket: then the next one waits for an event first.
    drained: bool,
}

#[async_trait::async_trait]
impl ReadHalf for BusReader {
    /// Reads bytes only: descriptors in a message are not received, and the kernel closes them.
    async fn recvmsg(&mut self, target: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let Self { socket_end, buffer, unread, drained } = self;
        if unread.start == unread.end {
            let look = |socket: BorrowedFd<'_>| {
                if std::mem::take(drained) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                sys::receive_now(socket, buffer)
            };
            let length = socket_end.attempt(&socket_end.reading, look).await?;
            if length == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            (*unread, *drained) = (0..length, length < buffer.len());
        }
        let length = unread.len().min(target.len());
        target[..length].copy_from_slice(&buffer[unread.start..unread.start + length]);
        unread.start += length;
        Ok((length, Vec::new()))
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct BusWriter(Arc<SocketEnd>);

#[async_trait::async_trait]
impl WriteHalf for BusWriter {
    async fn sendmsg(&mut self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.0.attempt(&self.0.writing, |socket| sys::send(socket, bytes, descriptors)).await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.stream.shutdown(std::net::Shutdown::Both)
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bus_is_a_unix_socket() {
        let path = |address: &str| place(address).ok().and_then(|place| Some(place.path()?.to_owned()));
        assert_eq!(path("unix:path=/run/a%20b/bus").as_deref(), Some("/run/a b/bus".as_ref()));
        let name = place("unix:abstract=x,guid=00000000000000000000000000000000").expect("a place");
        assert_eq!(name.as_abstract(), Some(&b"x"[..]));
        assert!(["", "x", "tcp:host=localhost,port=1"].map(place).iter().all(Result::is_err));
    }

    #[test]
    fn a_bus_that_says_nothing_is_waited_for_until_the_deadline() {
        let name = format!("sluice-link-{}", std::process::id());
        let at = SocketAddr::from_abstract_name(&name).expect("a short name");
        let _silent = UnixListener::bind_addr(&at).expect("a name of our own");
        let until = Instant::now() + Duration::from_millis(20);
        let error =
            BusTransport::connect(&format!("unix:abstract={name}"), until).expect_err("nobody answers");
        let is_late =
            matches!(&error, zbus::Error::InputOutput(why) if why.kind() == io::ErrorKind::TimedOut);
        assert!(is_late && Instant::now() >= until, "{error}");
    }
}
