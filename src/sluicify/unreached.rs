//! The line for each way of not reaching a broker: what is at the path, and what to do about it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::client::{ConnectFailure, PathKind};
use crate::limits::SOCKET_PATH_BYTES_MAX;
use crate::text::quoted;

use super::unit::SocketUnit;

/// The message when the broker on `socket` could not be reached, to have it run `words` (none for the
/// listing).
pub(super) fn advice(socket: &Path, words: &[OsString], why: &ConnectFailure) -> String {
    let is_units = SocketUnit::at(socket).is_certain(socket);
    advice_of(socket, words, why, is_units)
}

/// The message, where it is known whether systemd holds the socket (`is_units`).
fn advice_of(socket: &Path, words: &[OsString], why: &ConnectFailure, is_units: bool) -> String {
    let (unit, is_bare) = (SocketUnit::at(socket), !socket.as_os_str().as_encoded_bytes().contains(&b'/'));
    let is_rootless = socket.starts_with("/sluice");
    let has_fifos = fifo_door(socket).is_dir();
    let socket = path(socket);
    match why {
        ConnectFailure::Missing if is_bare => format!(
            "the first argument is the broker's socket, and there is none called {socket} here: a gate's is \
             $XDG_RUNTIME_DIR/sluice/{socket}/sock, in a sandbox often /gate/sock{}",
            if words.is_empty() {
                String::new()
            } else {
                format!("; a command comes after it: sluicify SOCKET {socket} ...")
            }
        ),
        ConnectFailure::Missing | ConnectFailure::NoDirectory(_) if is_rootless => format!(
            "no socket at {socket}: XDG_RUNTIME_DIR seems to be empty here; export XDG_RUNTIME_DIR=/run/user/$(id -u)"
        ),
        ConnectFailure::Missing | ConnectFailure::NoDirectory(_) if is_units => format!(
            "no socket at {socket}: where systemd makes it, outside, {} says why it is gone; then  {}  . A broker that you \
             started by hand, start again instead. In a sandbox, bind the socket's directory",
            unit.status(),
            unit.restart()
        ),
        ConnectFailure::Silent if is_units => format!(
            "nobody listens on {socket}: outside, {} says why; then  {}  (start no broker there by hand)",
            unit.status(),
            unit.restart()
        ),
        ConnectFailure::Missing => format!(
            "no socket at {socket}: start the broker (sluice serve --rules FILE --socket {socket}; where systemd does, \
             {} says why it is gone), or bind its socket's directory into this sandbox",
            unit.status()
        ),
        ConnectFailure::NoDirectory(directory) => format!(
            "no directory {}, so no socket in it: check the path, or bind the directory into this sandbox",
            path(directory)
        ),
        ConnectFailure::NotSocket(kind) => {
            format!("{socket} is {}, not a socket: name the broker's socket itself", name(*kind))
        }
        ConnectFailure::Silent => format!(
            "nobody listens on {socket}: its broker has ended, or could not start (where systemd starts it, {} says \
             why); start it again, and bind the socket's directory (not the socket) into a sandbox, so that the new one is seen there",
            unit.status()
        ),
        ConnectFailure::Foreign => format!(
            "nobody listens on {socket} on this kernel: its directory is shared with another machine, and a unix socket \
             reaches none but its own kernel's; run the broker here, or its caller there"
        ),
        ConnectFailure::Forbidden(error) => forbidden(error, has_fifos),
        ConnectFailure::Fenced { is_selinux } => fenced(&socket, *is_selinux),
        ConnectFailure::Denied { owner } => denied(&socket, *owner),
        ConnectFailure::NoDoor(_) => {
            format!("no FIFO door in {socket}: there is one while a broker runs whose rules say `fifo = yes`")
        }
        ConnectFailure::DoorBusy => {
            format!("others have all lanes of the FIFO door {socket}: try again later; nothing ran")
        }
        ConnectFailure::WrongType => {
            format!("{socket} is another program's socket (not SOCK_SEQPACKET), not a broker's")
        }
        ConnectFailure::LongPath(bytes) => format!(
            "a socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes, this one {bytes}: change to its directory \
             and give the file's name"
        ),
        ConnectFailure::Other(error) => format!("cannot connect to {socket}: {error}"),
    }
}

/// The message where the sandbox's filter refuses, with the ways that such filters leave.
fn forbidden(error: &io::Error, has_fifos: bool) -> String {
    let fifos = if has_fifos {
        "the FIFO door beside the socket, which is there (sluicify with the directory)"
    } else {
        "a FIFO door (fifo = yes)"
    };
    format!(
        "this sandbox's own filter forbids unix sockets ({error}). It may leave what is prepared outside: a connection that \
         is handed in as $SLUICE_FD (sluicify --with-fd, or a link called bwrap), {fifos}, or sluice mcp as the agent's MCP \
         server"
    )
}

/// The message where a security module refuses what permissions allow.
fn fenced(socket: &str, is_selinux: bool) -> String {
    if is_selinux {
        return format!(
            "{socket} may be used by its permissions, and SELinux refuses (ausearch -m avc -ts recent, outside, says why): \
             for a container, --security-opt label=disable"
        );
    }
    format!(
        "{socket} may be used by its permissions, and this sandbox refuses (Landlock): grant the socket itself, to be \
         written to (sandlock -w {socket}; reading is not enough)"
    )
}

/// The message where a permission is missing.
fn denied(socket: &str, owner: Option<u32>) -> String {
    match owner {
        Some(uid) => {
            format!("permission denied on {socket}, which belongs to uid {uid}: a broker serves its own uid")
        }
        None => {
            format!("permission denied on the way to {socket}: a directory above it is closed to this user")
        }
    }
}

/// The directory of the FIFO door that belongs to a socket.
fn fifo_door(socket: &Path) -> PathBuf {
    match socket.file_name() {
        Some(name) if name != "sock" => socket.with_added_extension("fifo"),
        Some(_) | None => socket.with_file_name("fifo"),
    }
}

/// `path` as one shell word.
pub(super) fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy()).into_owned()
}

fn name(kind: PathKind) -> &'static str {
    match kind {
        PathKind::Directory => "a directory",
        PathKind::File => "a file",
        PathKind::Other => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(why: &ConnectFailure, want: &str) {
        assert_eq!(advice(Path::new("/run/a b"), &["true".into()], why), want);
    }

    fn check_at(socket: &str, why: &ConnectFailure, parts: &[&str]) {
        let said = advice_of(Path::new(socket), &["push".into()], why, true);
        parts.iter().for_each(|part| assert!(said.contains(part), "{said}"));
        assert!(!said.contains("sluice serve"), "{said}");
    }

    #[test]
    fn a_socket_of_systemds_is_not_to_be_served_by_hand() {
        let agent = "systemctl --user status sluice@agent.socket sluice@agent.service says why";
        let again = "systemctl --user reset-failed sluice@agent.socket sluice@agent.service; systemctl --user start \
                     sluice@agent.socket";
        for why in [
            ConnectFailure::Missing,
            ConnectFailure::Silent,
            ConnectFailure::NoDirectory("/run/user/7/sluice".into()),
        ] {
            check_at("/run/user/7/sluice/agent/sock", &why, &[agent, again]);
        }
        check_at("/run/sluice/ci/sock", &ConnectFailure::Silent, &["systemctl status sluice@ci.socket"]);
    }

    #[test]
    fn a_forgotten_socket_is_told_from_a_missing_one() {
        check_at(
            "git",
            &ConnectFailure::Missing,
            &["the first argument is the broker's socket", "sluicify SOCKET git ..."],
        );
        let listed = advice(Path::new("agent"), &[], &ConnectFailure::Missing);
        let want = "there is none called agent here: a gate's is $XDG_RUNTIME_DIR/sluice/agent/sock, in a sandbox often \
                    /gate/sock";
        assert!(listed.ends_with(want), "{listed}");
    }

    #[test]
    fn a_path_that_an_empty_variable_made_is_known() {
        let why = ConnectFailure::NoDirectory("/sluice/agent".into());
        check_at("/sluice/agent/sock", &why, &["export XDG_RUNTIME_DIR=/run/user/$(id -u)"]);
    }

    #[test]
    fn a_socket_that_is_not_systemds_may_be_served_by_hand() {
        let said = advice_of(Path::new("/run/user/7/sluice/two/sock"), &[], &ConnectFailure::Silent, false);
        assert!(said.contains("start it again") && !said.contains("by hand"), "{said}");
    }

    #[test]
    fn a_socket_of_another_kernels_cannot_be_reached() {
        check_at(
            "/mnt/shared/sock",
            &ConnectFailure::Foreign,
            &["shared with another machine", "its own kernel's"],
        );
    }

    #[test]
    fn a_path_without_a_socket_says_what_is_there() {
        check(
            &ConnectFailure::Missing,
            "no socket at '/run/a b': start the broker (sluice serve --rules FILE --socket '/run/a b'; where systemd \
             does, systemctl --user status 'sluice*' says why it is gone), or bind its socket's directory into this \
             sandbox",
        );
        check(
            &ConnectFailure::NoDirectory("/run".into()),
            "no directory /run, so no socket in it: check the path, or bind the directory into this sandbox",
        );
        check(
            &ConnectFailure::NotSocket(PathKind::Directory),
            "'/run/a b' is a directory, not a socket: name the broker's socket itself",
        );
        check(
            &ConnectFailure::WrongType,
            "'/run/a b' is another program's socket (not SOCK_SEQPACKET), not a broker's",
        );
        check(
            &ConnectFailure::LongPath(120),
            "a socket's path has at most 107 bytes, this one 120: change to its directory and give the file's name",
        );
    }

    #[test]
    fn a_socket_that_does_not_serve_says_why() {
        check(
            &ConnectFailure::Silent,
            "nobody listens on '/run/a b': its broker has ended, or could not start (where systemd starts it, systemctl \
             --user status 'sluice*' says why); start it again, and bind the socket's directory (not the socket) into a sandbox, so that the \
             new one is seen there",
        );
        check(
            &ConnectFailure::Denied { owner: Some(7) },
            "permission denied on '/run/a b', which belongs to uid 7: a broker serves its own uid",
        );
        check(
            &ConnectFailure::Denied { owner: None },
            "permission denied on the way to '/run/a b': a directory above it is closed to this user",
        );
    }

    #[test]
    fn a_socket_that_only_a_security_module_refuses_says_which() {
        check(
            &ConnectFailure::Fenced { is_selinux: false },
            "'/run/a b' may be used by its permissions, and this sandbox refuses (Landlock): grant the socket itself, to \
             be written to (sandlock -w '/run/a b'; reading is not enough)",
        );
        check(
            &ConnectFailure::Fenced { is_selinux: true },
            "'/run/a b' may be used by its permissions, and SELinux refuses (ausearch -m avc -ts recent, outside, says \
             why): for a container, --security-opt label=disable",
        );
        assert_eq!(fifo_door(Path::new("/run/a/sock")), Path::new("/run/a/fifo"));
        assert_eq!(fifo_door(Path::new("/run/a/two")), Path::new("/run/a/two.fifo"));
    }

    #[test]
    fn what_the_kernel_says_is_passed_on() {
        check(
            &ConnectFailure::Forbidden(io::Error::from_raw_os_error(1)),
            "this sandbox's own filter forbids unix sockets (Operation not permitted (os error 1)). It may leave what is \
             prepared outside: a connection that is handed in as $SLUICE_FD (sluicify --with-fd, or a link called bwrap), a \
             FIFO door (fifo = yes), or sluice mcp as the agent's MCP server",
        );
        check(
            &ConnectFailure::Other(io::Error::from_raw_os_error(12)),
            "cannot connect to '/run/a b': Cannot allocate memory (os error 12)",
        );
    }
}
