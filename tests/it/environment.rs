//! What a command finds when it starts: its environment, directory, mask, limits, signals, session. Nothing
//! of the broker's is in it that no rule asked for.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use nix::sys::signal::Signal;

use crate::harness::{Broker, SHELL, Status, chmod, needs_root};

const ENV: &str = "/usr/bin/env\n";

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn no_variable_is_inherited_unless_the_rule_names_it() {
    let mut setup = Broker::new(&format!("defaults:\n  env = LANG,UNSET_ONE\n{ENV}"));
    for name in [
        "CANARY_SECRET",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD_X",
        "BASH_ENV",
        "ENV",
        "GIT_SSH_COMMAND",
        "NOTIFY_SOCKET",
        "INVOCATION_ID",
        "CREDENTIALS_DIRECTORY",
        "XDG_RUNTIME_DIR",
        "SLUICE_SOCKET",
        "JOURNAL_STREAM",
    ] {
        setup = setup.env(name, "/canary");
    }
    let answer_of = setup.env("LANG", "C.UTF-8").start();
    let answer = answer_of.call(["/usr/bin/env"]).exited(0);
    assert_eq!(sorted(&answer.text()), ["LANG=C.UTF-8", "PATH=/bin:/usr/bin:/sbin:/usr/sbin"]);
}

#[test]
fn without_a_word_on_it_the_environment_is_the_path_alone() {
    let broker = Broker::new(ENV).env("LD_PRELOAD_X", "/canary").start();
    broker.call(["/usr/bin/env"]).exited(0).printed("PATH=/bin:/usr/bin:/sbin:/usr/sbin\n");
}

#[test]
fn setenv_wins_over_env_and_the_rule_over_the_defaults() {
    let broker = Broker::new(
        "
        defaults:
          env    = LANG,EDITOR
          setenv = GREETING='good day' LANG=de

        /usr/bin/env
          env    = LANG,TERM
          setenv = LANG=nl EMPTY=
        ",
    );
    let broker = broker.env("LANG", "C").env("EDITOR", "vi").env("TERM", "dumb").start();
    let answer = broker.call(["/usr/bin/env"]).exited(0);
    let text = answer.text();
    let lines = sorted(&text);
    assert!(
        lines.contains(&"LANG=nl") && lines.contains(&"EMPTY=") && lines.contains(&"TERM=dumb"),
        "{lines:?}"
    );
    assert!(!text.contains("EDITOR"), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("LANG=")).count(), 1, "{lines:?}");
}

#[test]
fn a_bare_name_is_looked_up_in_exec_path_in_order() {
    let broker = Broker::new(
        "
        defaults:
          exec_path = @DIR@/one:@DIR@/two:/usr/bin:/bin

        tool
        other
        env
        ",
    );
    let broker = broker.arranged(|dir| {
        dir.mkdir("one", 0o755);
        dir.mkdir("two", 0o755);
        dir.program("one/tool", "#!/bin/sh\necho one\n");
        dir.program("two/tool", "#!/bin/sh\necho two\n");
        dir.program("two/other", "#!/bin/sh\necho other two\n");
    });
    let broker = broker.start();
    let dir = broker.dir().to_string_lossy().into_owned();
    let resolved = format!("start resolved={dir}/one/tool");
    broker.call(["tool"]).exited(0).printed("one\n").audited([&*resolved, "exit status=0"]);
    broker.call(["other"]).exited(0).printed("other two\n");
    broker.call(["env"]).exited(0).printed(&format!("PATH={dir}/one:{dir}/two:/usr/bin:/bin\n"));
    broker.call([&*format!("{dir}/one/tool")]).refused(Status::NO_RULE);
}

#[test]
fn exec_path_inherit_is_the_brokers_path() {
    let broker = Broker::new("env\n  exec_path = inherit\n").env("PATH", "/usr/bin:/bin").start();
    broker.call(["env"]).exited(0).printed("PATH=/usr/bin:/bin\n");
}

#[test]
fn a_name_that_is_nowhere_is_refused_not_spawned() {
    let broker = Broker::new("nosuchtool\n\n/nonexistent/program\n\n/etc/passwd\n\n/usr\n").start();
    for name in ["nosuchtool", "/nonexistent/program", "/etc/passwd", "/usr"] {
        broker
            .call([name])
            .refused(Status::SPAWN)
            .audited([&*format!(r#"reject reason=exe_unresolved status=-4 argv=["{name}"]"#)]);
    }
}

#[test]
fn a_program_in_a_directory_that_others_write_does_not_run() {
    let setup = Broker::new("tool\n  exec_path = @DIR@/open\n").arranged(|dir| {
        dir.mkdir("open", 0o777);
        dir.program("open/tool", "#!/bin/sh\necho ran\n");
    });
    setup.start_fails().said(&["open"]);
}

#[test]
fn a_missing_interpreter_is_no_exit_status() {
    let broker =
        Broker::new("@DIR@/script\n").program("script", "#!/nonexistent/interpreter\necho ran\n").start();
    let script = broker.dir().join("script");
    broker
        .call([&*script.to_string_lossy()])
        .refused(Status::SPAWN)
        .printed("")
        .audited(["start", "exit status=-4 step=exec errno=ENOENT"]);
}

#[test]
fn a_file_that_is_no_program_is_no_exit_status() {
    let broker = Broker::new("@DIR@/noise\n").program("noise", "neither ELF nor a script\n").start();
    let noise = broker.dir().join("noise");
    broker
        .call([&*noise.to_string_lossy()])
        .refused(Status::SPAWN)
        .audited(["start", "exit status=-4 step=exec errno=ENOEXEC"]);
}

#[test]
fn a_missing_cwd_is_no_exit_status() {
    let broker = Broker::new("/bin/pwd\n  cwd = @DIR@/gone\n").start();
    broker
        .call(["/bin/pwd"])
        .refused(Status::SPAWN)
        .printed("")
        .audited(["start", "exit status=-4 step=chdir errno=ENOENT"]);
}

#[test]
fn a_cwd_that_is_a_file_is_no_exit_status() {
    let broker = Broker::new("/bin/pwd\n  cwd = @DIR@/it.rules\n").start();
    broker.call(["/bin/pwd"]).refused(Status::SPAWN).audited(["start", "exit step=chdir errno=ENOTDIR"]);
}

#[test]
fn a_commands_own_126_and_127_are_passed_through() {
    let broker = Broker::shell();
    broker.sh("exit 126").exited(126).audited(["start", "exit status=126 !step !errno"]);
    broker.sh("exit 127").exited(127).audited(["start", "exit status=127 !step !errno"]);
    broker.sh("nosuchcommand").exited(127).audited(["start", "exit status=127 !step"]);
}

#[test]
fn the_command_starts_in_the_rules_directory() {
    let broker = Broker::new("/bin/pwd\n\npwd\n  cwd = @DIR@\n\n/bin/pwd -P\n  cwd = $HOME/audit\n").start();
    let dir = broker.dir().to_string_lossy().into_owned();
    broker.call(["/bin/pwd"]).exited(0).printed("/\n").audited(["start cwd=/", "exit"]);
    broker
        .call(["pwd"])
        .exited(0)
        .printed(&format!("{dir}\n"))
        .audited([&*format!("start cwd={dir}"), "exit"]);
    broker.call(["/bin/pwd", "-P"]).exited(0).printed(&format!("{dir}/audit\n"));
}

#[test]
fn the_umask_is_not_the_brokers() {
    let broker = Broker::new(SHELL).under(&["sh", "-c", "umask 007; exec \"$@\"", "sh"]).start();
    broker.sh("umask").exited(0).printed("0022\n");
}

#[test]
fn a_umask_of_its_own_reaches_the_command() {
    let broker = Broker::new("/bin/sh -c umask\n  umask = 077\n").start();
    broker.sh("umask").exited(0).printed("0077\n");
}

#[test]
fn nothing_is_ignored_and_nothing_is_blocked() {
    let broker = Broker::new("/bin/cat /proc/self/status\n").signals_ignored().start();
    let answer = broker.call(["/bin/cat", "/proc/self/status"]).exited(0);
    for field in ["SigIgn", "SigBlk", "SigPnd", "SigCgt"] {
        let line = answer.text().lines().find_map(|line| Some(line.strip_prefix(field)?.to_owned()));
        assert_eq!(line.as_deref(), Some(":\t0000000000000000"), "{field}");
    }
}

#[test]
fn a_broker_that_was_started_deaf_still_stops_and_reloads() {
    let mut broker = Broker::new(SHELL).signals_ignored().start();
    assert!(broker.hup().contains("reloaded"));
    broker.sh("kill -USR1 $$").died_of(Signal::SIGUSR1);
    broker.stop();
}

#[test]
fn the_command_is_in_a_session_of_its_own_without_a_terminal() {
    let broker = Broker::shell();
    let stat = broker.sh("cut -d ' ' -f 1,5,6,7 /proc/$$/stat").exited(0).text();
    let numbers: Vec<i32> = stat.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    let [pid, group, session, terminal] = numbers[..] else { panic!("{stat}") };
    assert_eq!((group, session, terminal), (pid, pid, 0));
    assert_ne!(Some(session), broker.pid().session());
    broker.sh(": < /dev/tty").exited(2);
}

#[test]
fn a_broker_that_was_started_without_stdin_and_stdout_keeps_them_apart() {
    let broker = Broker::new(SHELL).under(&["sh", "-c", "exec \"$@\" <&- >&-", "sh"]).start();
    let cat = broker.request(&["/bin/sh", "-c", "cat; exec ls /proc/self/fd"]).stdin("in\n");
    cat.run().exited(0).printed("in\n0\n1\n2\n3\n");
}

#[test]
fn no_core_is_dumped_and_no_other_limit_changes() {
    let limits =
        ["prlimit", "--core=unlimited", "--nofile=777:2048", "--stack=4194304", "--nproc=30000", "--"];
    let broker = Broker::new(SHELL).under(&limits).start();
    broker.sh("ulimit -c; ulimit -H -c").exited(0).printed("0\n0\n");
    broker.sh("ulimit -S -n; ulimit -H -n; ulimit -s").exited(0).printed("777\n2048\n4096\n");
    let names =
        ["Max cpu", "Max file size", "Max data", "Max processes", "Max address", "Max locked", "Max pending"];
    let theirs = broker.sh("cat /proc/self/limits").exited(0).text();
    let ours =
        std::fs::read_to_string(format!("/proc/{}/limits", broker.pid().0)).expect("limits can be read");
    for name in names {
        let line = |text: &str| text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        assert_eq!(line(&theirs), line(&ours));
    }
}

#[test]
fn the_command_is_no_harder_to_kill_than_others() {
    let broker = Broker::shell();
    let adjusted: i32 = broker.sh("cat /proc/self/oom_score_adj").text().trim().parse().expect("a number");
    assert!(adjusted >= 0, "{adjusted}");
}

#[test]
fn a_null_stdin_is_the_answer_to_programs_that_read_code() {
    let broker =
        Broker::new("/bin/cat\n  stdin = null\n\n/bin/readlink /proc/self/fd/0\n  stdin = null\n").start();
    broker.request(&["/bin/cat"]).stdin("rm -rf /").run().exited(0).printed("");
    broker.call(["/bin/readlink", "/proc/self/fd/0"]).exited(0).printed("/dev/null\n");
}

#[test]
fn a_null_stdin_stays_null_whatever_is_sent() {
    let broker = Broker::new("/bin/cat\n  stdin = null\n").start();
    let rules = std::fs::File::open(broker.rules_path()).expect("the rules can be read");
    broker.request(&["/bin/cat"]).given(0, rules).run().exited(0).printed("");
}

#[test]
fn the_command_does_not_run_with_the_brokers_name_or_arguments() {
    let broker = Broker::new("true\n\ncat /proc/self/cmdline\n").start();
    broker.call(["cat", "/proc/self/cmdline"]).exited(0).printed("cat\0/proc/self/cmdline\0");
}

/// What was trusted when the rules were loaded is looked at again by each call.
#[test]
fn a_program_that_others_can_change_by_now_is_not_run() {
    for program in ["@DIR@/bin/tool", "tool"] {
        let rules = format!("{program}\n  exec_path = @DIR@/bin:/bin\n");
        let setup = Broker::new(&rules).arranged(|dir| drop(dir.mkdir("bin", 0o755)));
        let broker = setup.program("bin/tool", "#!/bin/sh\necho ran\n").start();
        let dir = broker.dir().to_string_lossy().into_owned();
        let word = program.replace("@DIR@", &dir);
        broker.call([&word]).exited(0).printed("ran\n");
        for (place, mode, usual) in [
            ("bin/tool", 0o777, 0o755),
            ("bin/tool", 0o775, 0o755),
            ("bin", 0o777, 0o755),
            ("bin", 0o1777, 0o755),
        ] {
            chmod(&broker.dir().join(place), mode);
            let answer = broker.call([&word]).refused(Status::SPAWN).printed("");
            let reject = answer.audited(["reject reason=exe_untrusted"]).record("reject");
            assert!(reject.text("detail").contains(&format!("{dir}/{place}")), "{reject}");
            chmod(&broker.dir().join(place), usual);
            broker.call([&word]).exited(0).printed("ran\n");
        }
        symlink("bin/tool", broker.dir().join("link")).expect("a link");
        fs::rename(broker.dir().join("bin/tool"), broker.dir().join("bin/other")).expect("renamed");
        symlink("other", broker.dir().join("bin/tool")).expect("a link");
        broker.call([&word]).exited(0).printed("ran\n");
    }
}

#[test]
fn a_program_of_another_user_is_not_run() {
    if !needs_root() {
        return;
    }
    let setup = Broker::new("@DIR@/bin/tool\n").arranged(|dir| drop(dir.mkdir("bin", 0o755)));
    let broker = setup.program("bin/tool", "#!/bin/sh\necho ran\n").start();
    let tool = broker.dir().join("bin/tool");
    let word = tool.to_string_lossy().into_owned();
    for place in [tool.clone(), broker.dir().join("bin")] {
        chown(&place, Some(12345), None).expect("root may give it away");
        broker.call([&word]).refused(Status::SPAWN).audited(["reject reason=exe_untrusted"]);
        chown(&place, Some(0), None).expect("and take it back");
    }
    broker.call([&word]).exited(0);
}
