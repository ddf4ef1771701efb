//! A broker under measurement: started in a fresh directory of its own, ended by its pid.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::caller::{ask_listing, dial};
use crate::programs::ENVIRONMENT;

/// What is measured.
const RULES: &str = "/bin/true\n\n/bin/false\n\n/bin/sleep #seconds\n  seconds = [1-9][0-9]{0,3}";
/// The name of the socket, in the broker's directory.
const SOCKET: &str = "sock";
/// A unit of its own, with its cgroup given away. The program takes the place of `systemd-run`.
const DELEGATED: [&str; 6] = [
    "/usr/bin/systemd-run",
    "--user",
    "--scope",
    "--quiet",
    "--collect",
    "--property=Delegate=cpu io memory pids",
];
/// How long a broker may take to accept a first connection, and to leave.
const START_MAX: Duration = Duration::from_secs(10);
const STOP_MAX: Duration = Duration::from_secs(5);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A running broker. Ended, and its directory removed, when this is dropped.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    dir: PathBuf,
}

impl Broker {
    /// Starts `program`, with these options too, with the manifest on, strict, and rules for what is
    /// measured, below these `defaults`.
    pub fn start(name: &str, program: &Path, options: &[&str], defaults: &str) -> io::Result<Self> {
        Self::with_rules(name, program, options, defaults, RULES)
    }

    /// The same with rules of one's own.
    pub fn with_rules(
        name: &str,
        program: &Path,
        options: &[&str],
        defaults: &str,
        rules: &str,
    ) -> io::Result<Self> {
        Self::serve(name, &mut Command::new(program), options, (defaults, rules))
    }

    /// The same in a delegated cgroup that the manager of this user makes for it.
    pub fn delegated(name: &str, program: &Path, defaults: &str) -> io::Result<Self> {
        let mut command = Command::new(DELEGATED[0]);
        command.args(&DELEGATED[1..]).arg(program);
        Self::serve(name, &mut command, &[], (defaults, RULES))
    }

    /// Starts `program` as systemd would, with this many sockets that each have a rules file and a manifest
    /// of their own. [`Self::socket`] is the first of them, [`Self::nth_socket`] gives the others.
    pub fn activated(
        name: &str,
        program: &Path,
        options: &[&str],
        defaults: &str,
        sockets: usize,
    ) -> io::Result<Self> {
        let dir = directory(name)?;
        let names: Vec<String> = (0..sockets).map(socket_name).collect();
        let mut command = Command::new("systemd-socket-activate");
        command.arg("--seqpacket").arg(format!("--fdname={}", names.join(":")));
        // It passes few variables on; these say where the manager is.
        let known = ENVIRONMENT.into_iter().filter(|name| std::env::var_os(name).is_some());
        command.args(known.map(|name| format!("--setenv={name}")));
        for name in &names {
            let (file, logfile) = (dir.join(format!("{name}.rules")), dir.join(format!("{name}.jsonl")));
            write_rules(&file, &logfile, defaults, RULES)?;
            command.arg("-l").arg(dir.join(name));
        }
        command.arg(program).args(["serve".as_ref(), "--rules-dir".as_ref(), dir.as_os_str()]);
        let mut broker = Self::begin(command.args(options), dir)?;
        // Who spoke before the broker set it up to be told of senders is nobody: wait until it answers.
        broker.answered(ask_listing(&broker.socket()))?;
        Ok(broker)
    }

    /// The command is still to be told what to serve.
    fn serve(
        name: &str,
        command: &mut Command,
        options: &[&str],
        (defaults, rules): (&str, &str),
    ) -> io::Result<Self> {
        let dir = directory(name)?;
        let file = dir.join("bench.rules");
        write_rules(&file, &dir.join("manifest.jsonl"), defaults, rules)?;
        command.args(["serve".as_ref(), "--rules".as_ref(), file.as_os_str()]);
        command.args(["--socket".as_ref(), dir.join(SOCKET).as_os_str()]).args(options);
        Self::begin(command, dir)
    }

    fn begin(command: &mut Command, dir: PathBuf) -> io::Result<Self> {
        let stderr = File::create(dir.join("stderr"))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn()?;
        let mut broker = Self { child, dir };
        broker.wait_ready()?;
        Ok(broker)
    }

    /// The socket it listens on.
    pub fn socket(&self) -> PathBuf {
        self.nth_socket(0)
    }

    /// One of its sockets, where it has several.
    pub fn nth_socket(&self, number: usize) -> PathBuf {
        self.dir.join(socket_name(number))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_ready(&mut self) -> io::Result<()> {
        let end = Instant::now() + START_MAX;
        while let Err(error) = dial(&self.socket()) {
            if self.child.try_wait()?.is_some() || Instant::now() >= end {
                return self.answered(Err(error));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// With what the broker said, where there was no answer.
    fn answered(&mut self, answer: io::Result<()>) -> io::Result<()> {
        let Err(error) = answer else { return Ok(()) };
        // One that ends says why last.
        for _ in 0..100 {
            if self.child.try_wait()?.is_some() {
                break;
            }
            thread::sleep(LOOK_EVERY);
        }
        let said = fs::read_to_string(self.dir.join("stderr"))?;
        let said = said.lines().filter(|line| !line.starts_with("Listening on "));
        let said = said.collect::<Vec<_>>().join("\n");
        Err(io::Error::other(format!("the broker does not serve ({error}):\n{said}")))
    }

    fn stop(&mut self) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        if self.child.try_wait()?.is_none() {
            kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        }
        let end = Instant::now() + STOP_MAX;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= end {
                self.child.kill()?;
            }
            thread::sleep(LOOK_EVERY);
        }
        fs::remove_dir_all(&self.dir)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("bench: the broker in {}: {error}", self.dir.display());
        }
    }
}

fn socket_name(number: usize) -> String {
    if number == 0 { SOCKET.to_owned() } else { format!("{SOCKET}{number}") }
}

fn directory(name: &str) -> io::Result<PathBuf> {
    let dir = std::env::temp_dir().join(format!("sluice-bench-{}-{name}", process::id()));
    DirBuilder::new().mode(0o700).create(&dir)?;
    Ok(dir)
}

fn write_rules(path: &Path, logfile: &Path, defaults: &str, rules: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "defaults:\n  logfile = {}\n{defaults}\n\n{rules}", logfile.display())
}
