//! A test that needs another place than that of the test program: it is run again there, alone. The program
//! of the tests runs outside of the groups of the user's manager, as a login session does.

use std::any::type_name_of_val;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use super::drop_in::Removed;
use super::group::group;
use super::manager::Manager;
use super::process::Pid;
use super::program::{Ended, run};

/// Set where a test runs under a manager of its own.
const OWN_MANAGER: &str = "SLUICE_OWN_MANAGER";

/// What a test run elsewhere has of this program's environment, where it is set.
const HANDED_ON: [&str; 6] =
    ["CI", "SLUICE_SKIPS", "SLUICE_BIN", "SLUICIFY_BIN", "SLUICE_UNITS", OWN_MANAGER];

/// Whether this process is in a group of the user's manager.
pub(crate) fn is_inside_manager() -> bool {
    let shown = Manager::User.systemctl(&["show", "--value", "-p", "ControlGroup"]).exited(0).stdout();
    group(this_process()).starts_with(&format!("{}/", shown.trim_end()))
}

/// Goes through a test in a unit of the user's manager.
#[track_caller]
pub(crate) fn in_a_unit(test: impl Fn()) {
    if is_inside_manager() {
        return test();
    }
    let words = ["systemd-run", "--user", "--quiet", "--collect", "--pipe", "--wait"].map(str::to_owned);
    let kept = HANDED_ON.iter().filter(|name| env::var_os(name).is_some());
    let kept = kept.map(|name| format!("--setenv={name}"));
    passed(run(words.into_iter().chain(kept).chain(again(&test))));
}

/// Goes through a test beside a manager of its own, which the test may execute again or cut off its bus:
/// other tests' manager is not touched.
#[track_caller]
pub(crate) fn with_own_manager(test: impl Fn()) {
    if env::var_os(OWN_MANAGER).is_some() {
        return test();
    }
    let manager = OwnManager::start();
    let words = ["env".to_owned(), format!("{OWN_MANAGER}=yes")];
    passed(run(words.into_iter().chain(manager.environment()).chain(again(&test))));
}

/// The words that run one test, by the name that the compiler gives the closure in it.
fn again(test: &impl Fn()) -> Vec<String> {
    let name = type_name_of_val(test).trim_end_matches("::{{closure}}");
    let (_, name) = name.split_once("::").expect("a test is in a crate");
    let program = env::current_exe().expect("a program has a path").to_string_lossy().into_owned();
    [&program, "--exact", name, "--nocapture", "--test-threads=1", "--include-ignored"]
        .map(str::to_owned)
        .into()
}

#[track_caller]
fn passed(ended: Ended) {
    ended.exited(0).said(&["1 passed"]);
}

/// A second manager of the user, in a service of the first one, with directories and a bus of its own.
/// Dropped, it is stopped with all that it started.
struct OwnManager {
    unit: String,
    runtime: PathBuf,
    _removed: Removed,
}

impl OwnManager {
    #[track_caller]
    fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let name = format!("own-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let runtime = Manager::User.runtime().join(&name);
        fs::create_dir_all(runtime.join("home")).expect("an own directory can be made");
        let removed = Removed::new(runtime.clone());
        let own = Self { unit: format!("{name}.service"), runtime, _removed: removed };
        let words = ["systemd-run", "--user", "--quiet", "--collect", "--service-type=notify"];
        let unit = ["--property=Delegate=yes".to_owned(), format!("--unit={}", own.unit)];
        let set = own.environment().map(|variable| format!("--setenv={variable}"));
        let manager = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];
        let manager = manager.into_iter().find(|path| Path::new(path).exists()).expect("systemd is there");
        let manager = [manager, "--user", "--unit=basic.target"].map(str::to_owned);
        run(words.map(str::to_owned).into_iter().chain(unit).chain(set).chain(manager)).exited(0);
        own
    }

    fn environment(&self) -> [String; 3] {
        let runtime = self.runtime.display();
        [
            format!("XDG_RUNTIME_DIR={runtime}"),
            format!("DBUS_SESSION_BUS_ADDRESS=unix:path={runtime}/bus"),
            format!("HOME={runtime}/home"),
        ]
    }
}

impl Drop for OwnManager {
    fn drop(&mut self) {
        Manager::User.systemctl(&["stop", &self.unit]);
        // The manager makes directories with a mode of 0, which cannot be looked into.
        run(["chmod".as_ref(), "-R".as_ref(), "u+rwX".as_ref(), self.runtime.as_os_str()]);
    }
}

fn this_process() -> Pid {
    Pid(i32::try_from(process::id()).expect("a pid"))
}
