//! The systemd unit that holds a socket, told from the socket's path: the paths of the project's units have
//! one shape. systemd is not asked, because a sandbox cannot reach it; the commands named here are for a
//! person outside.

use std::path::Path;

/// A directory that exists where systemd is the first process, as `sd_booted(3)` tests it.
const SYSTEMD_RUNS: &str = "/run/systemd/system";

/// The manager that a unit belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnitManager {
    User,
    System,
}

/// The socket unit of a path, as far as the path tells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SocketUnit {
    manager: UnitManager,
    /// The part after the `@`, or `default`; `None` for a path of another shape, as inside a sandbox.
    name: Option<String>,
}

impl SocketUnit {
    /// The unit of a socket at `path`: `RUN/sluice/NAME/sock` or `RUN/sluice/NAME.sock`. In `/run` itself it
    /// is the system's, elsewhere a user's.
    pub(super) fn at(path: &Path) -> Self {
        let text = path.to_str().unwrap_or_default();
        let named = text.rsplit_once("/sluice/").and_then(|(run, rest)| {
            let name = rest.strip_suffix("/sock").or_else(|| rest.strip_suffix(".sock"))?;
            let is_plain = !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-:".contains(&byte));
            let is_run = run == "/run" || run == "/var/run" || run.starts_with("/run/user/");
            (is_plain && is_run).then_some((run, name))
        });
        let manager = match named {
            Some(("/run" | "/var/run", _)) => UnitManager::System,
            Some(_) | None => UnitManager::User,
        };
        Self { manager, name: named.map(|(_, name)| name.to_owned()) }
    }

    /// Whether systemd runs here and the path is that of a unit's socket: then no broker should be started
    /// there by hand. A lock file beside the socket means no: a broker that was started by hand left it there
    /// when it ended out of order.
    pub(super) fn is_certain(&self, socket: &Path) -> bool {
        let mut lock = socket.as_os_str().to_owned();
        lock.push(".lock");
        self.name.is_some() && !Path::new(&lock).exists() && Path::new(SYSTEMD_RUNS).is_dir()
    }

    /// The command that shows the state of the socket's unit and of its broker's.
    pub(super) fn status(&self) -> String {
        let units = match self.name.as_deref() {
            Some("default") => "sluice.socket sluice.service".to_owned(),
            Some(name) => format!("sluice@{name}.socket sluice@{name}.service"),
            None => "'sluice*'".to_owned(),
        };
        format!("{} status {units}", self.systemctl())
    }

    /// The command that starts the socket's unit again, after a failure too.
    pub(super) fn restart(&self) -> String {
        let instance = match self.name.as_deref() {
            Some("default") | None => String::new(),
            Some(name) => format!("@{name}"),
        };
        let systemctl = self.systemctl();
        format!(
            "{systemctl} reset-failed sluice{instance}.socket sluice{instance}.service; {systemctl} start \
             sluice{instance}.socket"
        )
    }

    fn systemctl(&self) -> &'static str {
        match self.manager {
            UnitManager::User => "systemctl --user",
            UnitManager::System => "systemctl",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, status: &str) {
        assert_eq!(SocketUnit::at(Path::new(path)).status(), status);
    }

    #[test]
    fn a_units_path_names_it() {
        let agent = "systemctl --user status sluice@agent.socket sluice@agent.service";
        check("/run/user/1000/sluice/agent/sock", agent);
        check("/run/user/1000/sluice/agent.sock", agent);
        check("/run/user/0/sluice/default/sock", "systemctl --user status sluice.socket sluice.service");
        check("/run/sluice/ci/sock", "systemctl status sluice@ci.socket sluice@ci.service");
        check("/run/sluice/default/sock", "systemctl status sluice.socket sluice.service");
    }

    #[test]
    fn a_socket_with_a_lock_beside_it_is_no_units() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("sock");
        std::fs::write(directory.path().join("sock.lock"), "").expect("an own file");
        let named = SocketUnit { manager: UnitManager::User, name: Some("agent".into()) };
        assert!(!named.is_certain(&socket));
    }

    #[test]
    fn another_path_names_none() {
        let any = "systemctl --user status 'sluice*'";
        for path in [
            "/gate/sock",
            "sock",
            "/home/you/sluice/agent/sock",
            "/run/sluice/$(id)/sock",
            "/run/sluice/a/b/sock",
        ] {
            check(path, any);
            assert!(!SocketUnit::at(Path::new(path)).is_certain(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_failed_socket_is_started_again() {
        assert_eq!(
            SocketUnit::at(Path::new("/run/sluice/ci/sock")).restart(),
            "systemctl reset-failed sluice@ci.socket sluice@ci.service; systemctl start sluice@ci.socket"
        );
    }
}
