//! A user with more descriptors on their way than its broker may have: the kernel passes on no more
//! (`ETOOMANYREFS`). Needs root, for whom the kernel keeps no such limit.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::chown;
use std::process::{Child, Command, Stdio};

use super::broker::Broker;
use super::setup::Setup;

/// Sends itself more descriptors than a broker of the same user may have on their way.
const CROWD: &str = r#"
import array, resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
null = open("/dev/null")
for _ in range(4):
    near.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null.fileno()] * 250))])
print("full", flush=True)
sys.stdin.read()
"#;

/// A user that is nobody else's, by its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrowdedUser(pub(crate) u32);

/// A process of that user, which keeps its descriptors on their way.
#[derive(Debug)]
pub(crate) struct Crowd(Child);

impl CrowdedUser {
    /// A broker of that user with few descriptors, at a setup without files that were written already.
    pub(crate) fn broker(self, setup: Setup) -> Broker {
        let setup = setup.arranged(|dir| {
            let give = |name| chown(dir.join(name), Some(self.0), Some(self.0));
            ["", "audit", "it.rules"].iter().for_each(|name| give(name).expect("root may give files away"));
        });
        let mut under: Vec<_> = self.setpriv().into();
        // So that the program is found where only root may look; the broker lets go of it.
        under.extend(["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"].map(str::to_owned));
        under.extend(["prlimit", "--nofile=256:256", "--"].map(str::to_owned));
        let under: Vec<_> = under.iter().map(String::as_str).collect();
        setup.under(&under).start()
    }

    /// The crowd, which is there when this returns.
    pub(crate) fn crowd(self) -> Crowd {
        let [program, words @ ..] = self.setpriv();
        let mut command = Command::new(program);
        // Not the first of the tests' own PATH, which may be nobody else's.
        command.args(words).args(["/usr/bin/python3", "-c", CROWD]);
        let mut crowd =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("there is python3");
        let mut said = String::new();
        BufReader::new(crowd.stdout.take().expect("a pipe")).read_line(&mut said).expect("it says something");
        assert_eq!(said, "full\n");
        Crowd(crowd)
    }

    /// What makes a program of this user's.
    fn setpriv(self) -> [String; 4] {
        let Self(user) = self;
        let ids = [format!("--reuid={user}"), format!("--regid={user}")];
        let [user, group] = ids;
        ["setpriv".into(), user, group, "--clear-groups".into()]
    }
}

impl Crowd {
    /// Takes the descriptors off their way.
    pub(crate) fn leave(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("it ends");
    }
}
