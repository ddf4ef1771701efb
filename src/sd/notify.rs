//! Notices about the broker to the service manager. The messages' texts come from the crate `sd-notify`, but
//! not the sending: the crate reads the environment for each message, cannot reach an abstract socket
//! (`@NAME`), and would wait for ever for a manager that does not read.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::sys::socket::UnixAddr;
use sd_notify::NotifyState;

use crate::limits::{NOTIFY_SEND_MAX, WATCHDOG_INTERVAL_MIN};

use super::datagram::{DatagramChannel, QueuePolicy};

/// Sends notices to the service manager; without a manager, drops them.
#[derive(Debug, Default)]
pub struct Notifier {
    channel: Option<DatagramChannel>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// A notifier for the manager that the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`,
    /// `WATCHDOG_PID`), if it names one.
    pub fn from_env() -> io::Result<Self> {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        let channel = DatagramChannel::new(address(&name)?, NOTIFY_SEND_MAX)?;
        Ok(Self { channel: Some(channel), watchdog: sd_notify::watchdog_enabled() })
    }

    /// Whether there is a manager to notify.
    pub fn is_heard(&self) -> bool {
        self.channel.is_some()
    }

    /// The interval of watchdog pings: half the time after which the manager takes the broker for stuck.
    pub fn ping_interval(&self) -> Option<Duration> {
        let limit = self.watchdog.filter(|limit| self.is_heard() && !limit.is_zero())?;
        Some((limit / 2).max(WATCHDOG_INTERVAL_MIN))
    }

    /// Tells that callers are answered from now on, or again, after a reload. Errors, as in every function
    /// here but [`Self::last_word`]: `WouldBlock` (the manager's queue is full, and the function does not
    /// wait).
    pub fn ready(&self, status: &str) -> io::Result<()> {
        self.send(QueuePolicy::None, &[NotifyState::Ready, NotifyState::Status(status)])
    }

    /// Tells that the rules are being read again.
    pub fn reloading(&self) -> io::Result<()> {
        let now = NotifyState::monotonic_usec_now().ok();
        let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(now).collect();
        self.send(QueuePolicy::None, &states)
    }

    /// Tells that the broker is stopping.
    pub fn stopping(&self, status: &str) -> io::Result<()> {
        self.send(QueuePolicy::None, &[NotifyState::Stopping, NotifyState::Status(status)])
    }

    /// Sends the broker's status, one line for a person.
    pub fn status(&self, status: &str) -> io::Result<()> {
        self.send(QueuePolicy::None, &[NotifyState::Status(status)])
    }

    /// Sends the last status of a broker that cannot serve. Waits at most [`NOTIFY_SEND_MAX`].
    pub fn last_word(&self, status: &str) -> io::Result<()> {
        self.send(QueuePolicy::Bounded, &[NotifyState::Status(status)])
    }

    /// Sends a watchdog ping.
    pub fn ping(&self) -> io::Result<()> {
        self.send(QueuePolicy::None, &[NotifyState::Watchdog])
    }

    /// Sends one datagram, with a line for each state. Line breaks in a text, which would begin another
    /// state, become spaces.
    fn send(&self, patience: QueuePolicy, states: &[NotifyState<'_>]) -> io::Result<()> {
        let Some(channel) = &self.channel else { return Ok(()) };
        let mut message = String::new();
        for state in states {
            let line = state.to_string().replace('\n', " ");
            writeln!(message, "{line}").expect("a string takes every write");
        }
        Ok(channel.send(message.as_bytes(), None, patience)?)
    }
}

/// A path, or after `@` the name of an abstract socket.
fn address(name: &OsStr) -> io::Result<UnixAddr> {
    match name.as_bytes() {
        [b'/', ..] => Ok(UnixAddr::new(name)?),
        [b'@', name @ ..] => Ok(UnixAddr::new_abstract(name)?),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor `@NAME`")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    fn pair(name: &str) -> (UnixDatagram, Notifier) {
        let name = format!("sluice-notify-{name}-{}", std::process::id());
        let bound = SocketAddr::from_abstract_name(&name).expect("a short name");
        let manager = UnixDatagram::bind_addr(&bound).expect("a name of our own");
        let address = address(OsStr::new(&format!("@{name}"))).expect("an abstract name");
        let channel = DatagramChannel::new(address, NOTIFY_SEND_MAX).expect("a socket");
        (manager, Notifier { channel: Some(channel), watchdog: Some(Duration::from_secs(3)) })
    }

    fn check(name: &str, say: impl FnOnce(&Notifier) -> io::Result<()>, want: &str) {
        let (manager, notifier) = pair(name);
        say(&notifier).expect("somebody listens");
        let mut message = [0; 256];
        let bytes = manager.recv(&mut message).expect("a message");
        assert_eq!(str::from_utf8(&message[..bytes]), Ok(want));
    }

    #[test]
    fn each_state_is_a_line() {
        check("ready", |notifier| notifier.ready("2 rules"), "READY=1\nSTATUS=2 rules\n");
        check("stop", |notifier| notifier.stopping("bye"), "STOPPING=1\nSTATUS=bye\n");
        check("ping", Notifier::ping, "WATCHDOG=1\n");
    }

    #[test]
    fn a_text_cannot_begin_another_state() {
        check("forged", |notifier| notifier.status("a\nMAINPID=1"), "STATUS=a MAINPID=1\n");
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nobody_up() {
        let (_manager, notifier) = pair("full");
        assert!((0..100_000).any(|_| notifier.ping().is_err()));
        let since = std::time::Instant::now();
        assert!(notifier.ready("here").is_err());
        assert!(since.elapsed() < NOTIFY_SEND_MAX / 2);
        assert!(notifier.last_word("here").is_err());
        assert!(since.elapsed() < 2 * NOTIFY_SEND_MAX);
    }

    #[test]
    fn a_sign_of_life_is_due_at_half_the_time() {
        let (_manager, notifier) = pair("half");
        assert_eq!(notifier.ping_interval(), Some(Duration::from_millis(1500)));
        assert_eq!(Notifier::default().ping_interval(), None);
        assert!(address(OsStr::new("vsock:2:1234")).is_err());
    }
}
