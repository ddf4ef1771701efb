//! The line for each way of not reaching a broker: what is at the path, and what to do about it.

use std::path::Path;

use crate::client::{Kind, Unreached};
use crate::limits::SOCKET_PATH_BYTES_MAX;

use super::advice::{STATUS, path};

/// What to say when the broker on `socket` could not be reached.
pub(super) fn advice(socket: &Path, why: &Unreached) -> String {
    let socket = path(socket);
    match why {
        Unreached::Forbidden(error) => {
            format!("cannot use unix sockets here ({error}): the sandbox's own filter has to allow them")
        }
        Unreached::Missing => format!(
            "no socket at {socket}: start the broker (sluice serve --rules FILE --socket {socket}; where systemd does, \
             {STATUS} says why it is gone), or bind its socket's directory into this sandbox"
        ),
        Unreached::NoDirectory(directory) => format!(
            "no directory {}, so no socket in it: check the path, or bind the directory into this sandbox",
            path(directory)
        ),
        Unreached::NotSocket(kind) => {
            format!("{socket} is {}, not a socket: name the broker's socket itself", name(*kind))
        }
        Unreached::Silent => format!(
            "nobody listens on {socket}: its broker has ended, or could not start ({STATUS} says why); start it again, \
             and bind the socket's directory (not the socket) into a sandbox, so that the new one is seen there"
        ),
        Unreached::Denied { owner: Some(uid) } => {
            format!("permission denied on {socket}, which belongs to uid {uid}: a broker serves its own uid")
        }
        Unreached::Denied { owner: None } => {
            format!("permission denied on the way to {socket}: a directory above it is closed to this user")
        }
        Unreached::WrongType => {
            format!("{socket} is another program's socket (not SOCK_SEQPACKET), not a broker's")
        }
        Unreached::LongPath(bytes) => format!(
            "a socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes, this one {bytes}: change to its directory \
             and give the file's name"
        ),
        Unreached::Other(error) => format!("cannot connect to {socket}: {error}"),
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Directory => "a directory",
        Kind::File => "a file",
        Kind::Other => "something else",
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn check(why: &Unreached, want: &str) {
        assert_eq!(advice(Path::new("/run/a b"), why), want);
    }

    #[test]
    fn a_path_without_a_socket_says_what_is_there() {
        check(
            &Unreached::Missing,
            "no socket at '/run/a b': start the broker (sluice serve --rules FILE --socket '/run/a b'; where systemd \
             does, systemctl --user status 'sluice*' says why it is gone), or bind its socket's directory into this \
             sandbox",
        );
        check(
            &Unreached::NoDirectory("/run".into()),
            "no directory /run, so no socket in it: check the path, or bind the directory into this sandbox",
        );
        check(
            &Unreached::NotSocket(Kind::Directory),
            "'/run/a b' is a directory, not a socket: name the broker's socket itself",
        );
        check(
            &Unreached::WrongType,
            "'/run/a b' is another program's socket (not SOCK_SEQPACKET), not a broker's",
        );
        check(
            &Unreached::LongPath(120),
            "a socket's path has at most 107 bytes, this one 120: change to its directory and give the file's name",
        );
    }

    #[test]
    fn a_socket_that_does_not_serve_says_why() {
        check(
            &Unreached::Silent,
            "nobody listens on '/run/a b': its broker has ended, or could not start (systemctl --user status 'sluice*' \
             says why); start it again, and bind the socket's directory (not the socket) into a sandbox, so that the \
             new one is seen there",
        );
        check(
            &Unreached::Denied { owner: Some(7) },
            "permission denied on '/run/a b', which belongs to uid 7: a broker serves its own uid",
        );
        check(
            &Unreached::Denied { owner: None },
            "permission denied on the way to '/run/a b': a directory above it is closed to this user",
        );
    }

    #[test]
    fn what_the_kernel_says_is_passed_on() {
        check(
            &Unreached::Forbidden(io::Error::from_raw_os_error(1)),
            "cannot use unix sockets here (Operation not permitted (os error 1)): the sandbox's own filter has to \
             allow them",
        );
        check(
            &Unreached::Other(io::Error::from_raw_os_error(12)),
            "cannot connect to '/run/a b': Cannot allocate memory (os error 12)",
        );
    }
}
