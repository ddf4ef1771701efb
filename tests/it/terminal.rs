//! A command on its caller's terminal: Ctrl-C, Ctrl-Z and `fg`, the window's size, and the modes afterwards.

use crate::harness::{Broker, SHELL, SOON, Terminal, found, needs, sluicify_bin};

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
    let commands = broker.pid().descendants();
    let command =
        commands.into_iter().find(|pid| pid.command_line().contains("stty -ixon")).expect("it runs");
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
