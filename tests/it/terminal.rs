//! A command on its caller's terminal: Ctrl-C, Ctrl-Z and `fg`, the window's size, and the modes afterwards.

use std::process::Command;

use crate::harness::{Broker, Pid, SHELL, SOON, Terminal, found, needs, sluicify_bin};

/// A terminal in whose shell `call SCRIPT` has a script run by the broker.
fn terminal(broker: &Broker) -> Terminal {
    let mut terminal = Terminal::open();
    let (client, socket) = (sluicify_bin(), broker.socket());
    terminal.types(&format!(
        "call() {{ {} {} /bin/sh -c \"$1\"; }}; echo defined\n",
        client.display(),
        socket.display()
    ));
    terminal.shows("defined");
    terminal
}

/// The process of a command with this in its words: the leader of a session, because a child of the command
/// may have the same words for a moment.
fn command(broker: &Broker, words: &str) -> Pid {
    let is_it = |pid: &Pid| pid.session() == Some(pid.0) && pid.command_line().contains(words);
    broker.pid().descendants().into_iter().find(is_it).expect("it runs")
}

#[test]
fn ctrl_c_ends_the_command_and_the_caller_tells_how() {
    let broker = Broker::shell();
    let mut terminal = terminal(&broker);
    terminal.types("call 'echo ready; exec sleep 60'; echo status $?.\n");
    terminal.shows("ready\r\n");
    terminal.types("\u{3}");
    terminal.shows("status 130.");
}

#[test]
fn ctrl_c_is_the_commands_to_handle() {
    let broker = Broker::shell();
    let mut terminal = terminal(&broker);
    terminal.types("call 'trap \"echo caught; exit 4\" INT; echo ready; while :; do sleep 0.05; done'; echo status $?.\n");
    terminal.shows("ready\r\n");
    terminal.types("\u{3}");
    terminal.shows("caught");
    terminal.shows("status 4.");
}

#[test]
fn a_window_that_changes_its_size_is_told_to_the_command() {
    let broker = Broker::shell();
    let mut terminal = terminal(&broker);
    terminal.types("call 'trap \"stty size\" WINCH; echo ready; while :; do sleep 0.05; done'\n");
    terminal.shows("ready\r\n");
    terminal.resize(33, 99);
    terminal.shows("33 99");
    terminal.types("\u{3}");
}

#[test]
fn ctrl_z_stops_both_and_fg_has_both_go_on() {
    let broker = Broker::shell();
    let mut terminal = terminal(&broker);
    let sane = terminal.modes();
    terminal.types("call 'stty -ixon; echo ready; while :; do sleep 0.05; done'\n");
    terminal.shows("ready\r\n");
    let own = terminal.modes();
    assert_ne!(own, sane);
    let command = command(&broker, "stty -ixon");
    terminal.types("\u{1a}");
    terminal.shows("Stopped");
    assert!(found(SOON, || command.is_stopped().then_some(())).is_some());
    assert_eq!(terminal.modes(), sane);
    terminal.types("fg\n");
    assert!(found(SOON, || (!command.is_stopped()).then_some(())).is_some());
    assert!(found(SOON, || (terminal.modes() == own).then_some(())).is_some(), "{} {own}", terminal.modes());
    terminal.types("\u{3}");
    terminal.types("echo status $?.\n");
    terminal.shows("status 130.");
    assert_eq!(terminal.modes(), sane);
}

#[test]
fn modes_that_a_command_leaves_behind_are_put_back_unless_it_ended_well() {
    let broker = Broker::new(&format!("{SHELL}  timeout = 1s\n")).start();
    let mut terminal = terminal(&broker);
    terminal.types("call 'stty -ixon; exit 3'; stty -a | grep -o ' .ixon \\| ixon '; echo first.\n");
    terminal.shows(" ixon");
    terminal.shows("first.\r\n");
    terminal.types("call 'stty raw -echo; sleep 60'; stty -a | grep -o '.icanon'; echo second.\n");
    terminal.shows(" icanon");
    terminal.shows("second.\r\n");
    terminal.types("call 'stty -ixon'; stty -a | grep -o '.ixon '; echo third.\n");
    terminal.shows("-ixon");
    terminal.shows("third.\r\n");
}

#[test]
fn an_editor_works_on_the_callers_terminal() {
    if !needs("vim", "vim") {
        return;
    }
    let broker = Broker::shell();
    let mut terminal = terminal(&broker);
    let file = broker.dir().join("text");
    terminal.types(&format!("call 'vim -u NONE -i NONE -n {}'; echo status $?.\n", file.display()));
    terminal.shows("[New");
    terminal.types("ihello\u{1b}");
    terminal.resize(40, 120);
    terminal.types(":wq\r");
    terminal.shows("status 0.");
    assert_eq!(std::fs::read_to_string(file).expect("it was written"), "hello\n");
    terminal.types("echo sane\n");
    terminal.shows("sane\r\n");
}

/// A real tmux with a server of its own, whose one pane has a shell.
struct Tmux(String);

impl Tmux {
    fn open() -> Self {
        let tmux = Self(format!("sluice-it-{}", std::process::id()));
        tmux.does(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            "bash --norc --noprofile",
        ]);
        tmux
    }

    fn does(&self, words: &[&str]) -> String {
        let output =
            Command::new("tmux").args(["-L", &self.0]).args(words).output().expect("tmux is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn types(&self, keys: &[&str]) {
        self.does(&[&["send-keys"], keys].concat());
    }

    /// Waits until the pane shows a line that ends with this text.
    #[track_caller]
    fn shows(&self, line: &str) {
        let pane = || self.does(&["capture-pane", "-p"]);
        let is_there =
            found(SOON, || pane().lines().any(|shown| shown.trim_end().ends_with(line)).then_some(()));
        assert!(is_there.is_some(), "no line {line:?} in\n{}", pane());
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.does(&["kill-server"]);
    }
}

#[test]
fn under_tmux_a_command_is_used_as_in_its_own_terminal() {
    if !needs("tmux", "tmux") {
        return;
    }
    let (broker, tmux) = (Broker::shell(), Tmux::open());
    let call = format!("{} {} /bin/sh -c", sluicify_bin().display(), broker.socket().display());
    tmux.types(&[&format!("clear; {call} 'echo ready; exec sleep 60'; echo status $?."), "Enter"]);
    tmux.shows("ready");
    tmux.types(&["C-c"]);
    tmux.shows("status 130.");
    let script = "trap \"stty size\" WINCH; echo begun; while :; do sleep 0.05; done";
    tmux.types(&[&format!("clear; {call} '{script}'"), "Enter"]);
    tmux.shows("begun");
    tmux.does(&["resize-window", "-x", "100", "-y", "30"]);
    tmux.shows("30 100");
    tmux.types(&["C-z"]);
    let command = command(&broker, "trap");
    assert!(found(SOON, || command.is_stopped().then_some(())).is_some());
    tmux.types(&["clear; stty -a | grep -o ' icanon'; fg", "Enter"]);
    tmux.shows(" icanon");
    assert!(found(SOON, || (!command.is_stopped()).then_some(())).is_some());
    tmux.types(&["C-c"]);
    tmux.types(&["echo status $?.", "Enter"]);
    tmux.shows("status 130.");
}
