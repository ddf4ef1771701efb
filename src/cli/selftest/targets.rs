//! What the attempts are made on: files, a process and sockets outside of the confinement, and a working
//! directory in it. They are put back before each attempt.

use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::unistd::mkdtemp;
use serde::{Deserialize, Serialize};

/// The content of a file that must not be read, and of a variable of the process outside.
pub(super) const SECRET: &str = "sluice-selftest-secret";

/// The content of a file that must not be changed.
const BEFORE: &str = "before\n";

/// What an attempt is told: it is made in a process of its own.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EscapeTargets {
    /// The working directory.
    pub(super) workspace: PathBuf,
    /// The directory outside.
    pub(super) outside: PathBuf,
    /// The process outside.
    pub(super) process: i32,
    pub(super) tcp_port: u16,
    pub(super) udp_port: u16,
    /// The name of an abstract unix socket.
    pub(super) abstract_name: String,
    /// Sockets of the service manager, the bus and the journal.
    pub(super) manager: Vec<PathBuf>,
    /// A cgroup of the user's that is not the command's.
    pub(super) cgroup: PathBuf,
}

/// The targets while they are there.
pub(super) struct TargetFixture {
    pub(super) targets: EscapeTargets,
    directory: PathBuf,
    process: Child,
    /// Open as long as attempts are made.
    _sockets: (TcpListener, UdpSocket, UnixListener, UnixListener, UnixDatagram),
}

impl TargetFixture {
    /// Makes the targets, in a new directory in `place`.
    pub(super) fn new(place: &Path) -> io::Result<Self> {
        let directory = fs::canonicalize(mkdtemp(&place.join("sluice-selftest-XXXXXX"))?)?;
        let [workspace, outside] = ["workspace", "outside"].map(|name| directory.join(name));
        for made in [&workspace, &outside] {
            fs::create_dir(made)?;
        }
        let process = waiting_process(&outside).spawn()?;
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        let abstract_name = format!("sluice-selftest-{}", std::process::id());
        let named = SocketAddr::from_abstract_name(&abstract_name)?;
        let targets = EscapeTargets {
            process: process.id().cast_signed(),
            tcp_port: tcp.local_addr()?.port(),
            udp_port: udp.local_addr()?.port(),
            abstract_name,
            manager: manager_sockets(),
            cgroup: managers_cgroup().map_or_else(own_cgroup, Ok)?,
            workspace,
            outside: outside.clone(),
        };
        let _sockets = (
            tcp,
            udp,
            UnixListener::bind(outside.join("socket"))?,
            UnixListener::bind_addr(&named)?,
            UnixDatagram::bind(outside.join("datagram"))?,
        );
        Ok(Self { targets, directory, process, _sockets })
    }

    /// A directory for the broker's files.
    pub(super) fn broker_directory(&self) -> &Path {
        &self.directory
    }

    /// Puts everything back as it was before any attempt.
    pub(super) fn put_back(&self) -> io::Result<()> {
        let EscapeTargets { workspace, outside, .. } = &self.targets;
        empty(workspace, &[])?;
        empty(outside, &["socket", "datagram"])?;
        for (name, text) in [("secret", SECRET), ("moved", SECRET), ("written", BEFORE), ("removed", BEFORE)]
        {
            fs::write(outside.join(name), text)?;
        }
        fs::write(workspace.join("own"), BEFORE)?;
        for directory in [workspace, outside] {
            let program = directory.join("program");
            fs::copy(program_to_copy(), &program)?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?;
        }
        symlink(outside.join("secret"), workspace.join("link"))?;
        symlink(outside.join("written"), workspace.join("link-to-write"))
    }
}

impl Drop for TargetFixture {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        fs::remove_dir_all(&self.directory).ok();
    }
}

/// A process that waits for input until this one ends.
fn waiting_process(directory: &Path) -> Command {
    let mut process = Command::new("cat");
    process.current_dir(directory).env("SLUICE_SELFTEST", SECRET);
    process.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    process
}

/// Removes all files of a directory but these.
fn empty(directory: &Path, but: &[&str]) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if but.iter().any(|kept| entry.file_name() == *kept) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A program that ends well and does nothing.
fn program_to_copy() -> &'static str {
    if Path::new("/usr/bin/true").exists() { "/usr/bin/true" } else { "/bin/true" }
}

/// The sockets that processes of the user are started by, as far as there are any.
fn manager_sockets() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.unwrap_or_else(|| format!("/run/user/{}", nix::unistd::getuid()).into());
    let own = ["bus", "systemd/private", "systemd/notify"].map(|name| runtime.join(name));
    let machine = ["/run/systemd/private", "/run/dbus/system_bus_socket", "/run/systemd/journal/stdout"];
    own.into_iter().chain(machine.map(PathBuf::from)).filter(|path| path.exists()).collect()
}

/// The directory of the cgroup of the user's manager, if there is one.
fn managers_cgroup() -> Option<PathBuf> {
    let user = nix::unistd::getuid();
    let path = format!("/sys/fs/cgroup/user.slice/user-{user}.slice/user@{user}.service/init.scope");
    Some(PathBuf::from(path)).filter(|path| path.exists())
}

/// The directory of this process's cgroup.
fn own_cgroup() -> io::Result<PathBuf> {
    let text = io::read_to_string(File::open("/proc/self/cgroup")?)?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    Ok(Path::new("/sys/fs/cgroup").join(path))
}
