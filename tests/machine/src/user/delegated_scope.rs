//! What systemd and the kernel do with a transient scope that is delegated (`Delegate=`) and has one process
//! that stays, in a sub-group of its own (`SCOPE/anchor`). Calls in scopes stand on it; `sluice` has no part
//! in these tests.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd;

use crate::harness::{
    Manager, Pid, SOON, clone_into, directory, gone, group, in_a_unit, is_inside_manager, run, skip,
    with_own_manager, within,
};

/// The manager's object on the bus, and its interface.
const MANAGER: [&str; 3] =
    ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];

const SLEEP: [&str; 2] = ["/bin/sleep", "1000"];

/// Calls a method of the manager.
#[track_caller]
fn ask(method: &str, arguments: &[&str]) {
    run([&["busctl", "--user", "call"], &MANAGER[..], &[method], arguments].concat()).exited(0);
}

/// A delegated scope with its anchor. Dropped, both are ended.
struct Scope {
    unit: String,
    directory: PathBuf,
    anchor: Child,
}

impl Scope {
    /// Has the manager make one, and moves its only process into a sub-group.
    #[track_caller]
    fn make() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let unit = format!("delegated-{}-{number}.scope", process::id());
        let anchor = Command::new(SLEEP[0]).arg(SLEEP[1]).stdin(Stdio::null()).spawn();
        let anchor = anchor.expect("a process can be made");
        let pid = anchor.id().to_string();
        let words = format!(
            "ssa(sv)a(sa(sv)) {unit} fail 4 PIDs au 1 {pid} DelegateControllers as 1 memory \
             CollectMode s inactive-or-failed TimeoutStopUSec t 500000 0"
        );
        ask("StartTransientUnit", &words.split(' ').collect::<Vec<_>>());
        let anchor_pid = of_child(&anchor);
        within(SOON, "the scope", || group(anchor_pid).ends_with(&unit).then_some(()));
        let scope = Self { unit, directory: directory(anchor_pid), anchor };
        let own = scope.sub_group("anchor");
        move_into(&own, anchor_pid).expect("a process may be moved within a delegated scope");
        scope
    }

    /// Makes a group below it.
    #[track_caller]
    fn sub_group(&self, name: &str) -> PathBuf {
        let group = self.directory.join(name);
        fs::create_dir(&group).expect("a delegated scope takes groups");
        group
    }

    /// One property, as `systemctl show` prints it.
    #[track_caller]
    fn property(&self, name: &str) -> String {
        let shown = Manager::User.systemctl(&["show", "--value", "-p", name, &self.unit]).exited(0);
        shown.stdout().trim_end().to_owned()
    }

    #[track_caller]
    fn is_described(&self, text: &str) {
        let words = [&self.unit, "true", "1", "Description", "s", text];
        ask("SetUnitProperties", &[&["sba(sv)"], &words[..]].concat());
        assert_eq!(self.property("Description"), text);
    }

    /// The anchor, where it belongs.
    #[track_caller]
    fn holds_its_anchor(&self) {
        let anchor = of_child(&self.anchor);
        assert!(anchor.runs() && directory(anchor) == self.directory.join("anchor"), "{}", group(anchor));
        assert_eq!(self.property("ActiveState"), "active");
    }

    /// A process is made in a new group below it, becomes a program, ends and is waited for; the group is
    /// removed.
    #[track_caller]
    fn runs_a_program(&self, name: &str) {
        let group = self.sub_group(name);
        let path = self.directory.strip_prefix("/sys/fs/cgroup").expect("it is a cgroup").display();
        let line = format!("0::/{path}/{name}");
        let script = "while read -r line; do [ \"$line\" = \"$0\" ] && exit; done </proc/self/cgroup; exit 1";
        let pid = clone_into(&group, &["/bin/sh", "-c", script, &line]).expect("a process can be made in it");
        assert_eq!(waited_for(pid), WaitStatus::Exited(unistd::Pid::from_raw(pid.0), 0));
        let events = fs::read_to_string(group.join("cgroup.events")).expect("a group tells its state");
        assert!(events.contains("populated 0\n"), "{events}");
        fs::remove_dir(group).expect("an empty group can be removed");
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        Manager::User.systemctl(&["stop", &self.unit]);
        // It may have ended with the scope.
        self.anchor.kill().ok();
        self.anchor.wait().expect("a child can be waited for");
    }
}

fn of_child(child: &Child) -> Pid {
    Pid(i32::try_from(child.id()).expect("a pid"))
}

fn move_into(group: &Path, pid: Pid) -> io::Result<()> {
    fs::write(group.join("cgroup.procs"), pid.0.to_string())
}

#[track_caller]
fn waited_for(pid: Pid) -> WaitStatus {
    waitpid(unistd::Pid::from_raw(pid.0), None).expect("a child can be waited for")
}

#[test]
fn a_process_of_another_unit_is_made_in_it_again_and_again() {
    in_a_unit(|| {
        let scope = Scope::make();
        let own = group(Pid(i32::try_from(process::id()).expect("a pid")));
        assert!(own.ends_with(".service"), "{own}");
        for number in 1..=100 {
            scope.runs_a_program(&format!("call-{number}"));
        }
        scope.holds_its_anchor();
        assert_eq!(scope.property("Delegate"), "yes");
        assert_eq!(scope.property("DelegateControllers"), "memory");
    });
}

#[test]
fn it_survives_reloads_and_a_second_execution_of_its_manager() {
    with_own_manager(|| {
        in_a_unit(|| {
            let scope = Scope::make();
            let call = clone_into(&scope.sub_group("call-1"), &SLEEP).expect("a process can be made in it");
            let verbs = ["daemon-reload", "daemon-reexec", "daemon-reload", "daemon-reexec"];
            for (number, verb) in (2..).zip(verbs) {
                scope.is_described(&format!("before {verb}"));
                Manager::User.systemctl(&[verb]).exited(0);
                assert_eq!(scope.property("Description"), format!("before {verb}"));
                scope.holds_its_anchor();
                assert!(call.runs() && directory(call) == scope.directory.join("call-1"), "{}", group(call));
                scope.runs_a_program(&format!("call-{number}"));
            }
            call.signal(Signal::SIGKILL);
            waited_for(call);
        });
    });
}

#[test]
fn its_description_changes_while_it_lives() {
    in_a_unit(|| {
        let scope = Scope::make();
        let call = clone_into(&scope.sub_group("call-1"), &SLEEP).expect("a process can be made in it");
        (1..=20).for_each(|number| scope.is_described(&format!("call {number}: sleep 1000")));
        scope.holds_its_anchor();
        call.signal(Signal::SIGKILL);
        waited_for(call);
        scope.is_described("ready for a call");
    });
}

/// The names of the files of a watched group that were written or changed since the last look; not those by
/// which the kernel tells of events, late ones of the anchor's move among them.
#[track_caller]
fn changed(watch: &Inotify) -> Vec<OsString> {
    let mut names: Vec<_> = match watch.read_events() {
        Ok(events) => events.into_iter().filter_map(|event| event.name).collect(),
        Err(Errno::EAGAIN) => Vec::new(),
        Err(errno) => panic!("a watch can be read: {errno}"),
    };
    names.retain(|name| name != "cgroup.events");
    names.dedup();
    names
}

#[test]
fn a_write_to_a_file_of_it_is_told_and_the_manager_writes_none() {
    in_a_unit(|| {
        let scope = Scope::make();
        let watch = Inotify::init(InitFlags::IN_NONBLOCK).expect("there is inotify");
        let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ATTRIB;
        watch.add_watch(&scope.directory, flags).expect("a group can be watched");
        scope.is_described("call 1: sleep 1000");
        Manager::User.systemctl(&["daemon-reload"]).exited(0);
        scope.runs_a_program("call-1");
        assert_eq!(changed(&watch), [""; 0]);
        let write = |name: &str, text: &str| fs::write(scope.directory.join(name), text);
        write("cgroup.freeze", "1").expect("an own group can be frozen");
        write("cgroup.freeze", "0").expect("an own group can be thawed");
        assert_eq!(changed(&watch), ["cgroup.freeze"]);
        let file = scope.directory.join("cgroup.max.descendants");
        fs::set_permissions(file, Permissions::from_mode(0o600)).expect("an own file takes a mode");
        assert_eq!(changed(&watch), ["cgroup.max.descendants"]);
    });
}

/// Processes in the scope's groups, of which one does not heed SIGTERM.
#[track_caller]
fn filled(scope: &Scope) -> [Pid; 3] {
    let call = scope.sub_group("call-1");
    let below = scope.sub_group("call-1/below");
    let deaf = ["/bin/sh", "-c", "trap '' TERM; while :; do /bin/sleep 1; done"];
    let made = |group: &Path, words: &[&str]| clone_into(group, words).expect("a process can be made in it");
    [made(&call, &SLEEP), made(&below, &SLEEP), made(&call, &deaf)]
}

#[test]
fn a_stop_ends_everything_in_it() {
    in_a_unit(|| {
        let scope = Scope::make();
        let pids = filled(&scope);
        Manager::User.systemctl(&["stop", &scope.unit]).exited(0);
        gone(&pids);
        gone(&[of_child(&scope.anchor)]);
        within(SOON, "its directory is removed", || (!scope.directory.exists()).then_some(()));
        for pid in pids {
            waited_for(pid);
        }
        assert_eq!(scope.property("LoadState"), "not-found");
    });
}

#[test]
fn a_signal_to_it_reaches_every_group_in_it() {
    in_a_unit(|| {
        let scope = Scope::make();
        let [call, below, deaf] = filled(&scope);
        Manager::User.systemctl(&["kill", &scope.unit]).exited(0);
        let anchor = of_child(&scope.anchor);
        gone(&[anchor, call, below]);
        assert!(deaf.runs() && scope.property("ActiveState") == "active");
        Manager::User.systemctl(&["kill", "--signal=KILL", &scope.unit]).exited(0);
        gone(&[deaf]);
        for pid in [call, below, deaf] {
            waited_for(pid);
        }
    });
}

#[test]
fn a_process_of_elsewhere_may_neither_be_moved_nor_made_in_it() {
    if is_inside_manager() {
        return skip("the tests run in a group of the user's manager: tests/run in a login session");
    }
    // The manager asks the system's to move a process that it may not move itself.
    let scope = Scope::make();
    let call = scope.sub_group("call-1");
    let mut own = Command::new(SLEEP[0]).arg(SLEEP[1]).spawn().expect("a process can be made");
    let moved = move_into(&call, of_child(&own)).expect_err("it was moved");
    assert_eq!(moved.kind(), ErrorKind::PermissionDenied, "{moved}");
    let made = clone_into(&call, &SLEEP).expect_err("it was made");
    assert_eq!(made.raw_os_error(), Some(Errno::EACCES as i32), "{made}");
    own.kill().expect("a child of ours can be killed");
    own.wait().expect("a child can be waited for");
    scope.holds_its_anchor();
}
