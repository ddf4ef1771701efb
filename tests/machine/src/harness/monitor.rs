//! What is said to the user's manager on the bus, as systemd's own `busctl` hears it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde_json::Value;

use super::program::run;
use super::wait::{SOON, within};

/// How long a monitor lives at most, in seconds.
const MONITOR_MAX: &str = "60";

const MANAGER: &str = "org.freedesktop.systemd1";

/// What was said since its beginning.
#[derive(Debug)]
pub(crate) struct Monitor {
    child: Child,
    messages: Receiver<Value>,
}

impl Monitor {
    /// Listens from the moment that this returns. It does not say itself when that is, so it is talked to.
    #[track_caller]
    pub(crate) fn begin() -> Self {
        let mut command = Command::new("timeout");
        command.args([MONITOR_MAX, "busctl", "--user", "--json=short", "monitor", MANAGER]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("systemd has busctl");
        let lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
        let (heard, messages) = mpsc::channel();
        thread::spawn(move || {
            let read = |line: String| serde_json::from_str(&line).expect("busctl writes JSON");
            lines.map_while(Result::ok).map(read).try_for_each(|message| heard.send(message))
        });
        within(SOON, "the monitor hears something", || {
            let (path, interface) = ("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager");
            run(["busctl", "--user", "get-property", MANAGER, path, interface, "Version"]).exited(0);
            messages.try_recv().ok()
        });
        Self { child, messages }
    }

    /// The body of the next call of this method whose first argument begins so.
    #[track_caller]
    pub(crate) fn call(&self, member: &str, first: &str) -> Value {
        within(SOON, &format!("a {member} of {first}"), || {
            let mut heard = self.messages.try_iter().filter(|message| message["member"] == member);
            let body = heard.next().map(|mut message| message["payload"]["data"].take());
            body.filter(|body| body[0].as_str().is_some_and(|word| word.starts_with(first)))
        })
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.child.kill().expect("a child of ours can be killed");
        self.child.wait().expect("a child can be waited for");
    }
}
