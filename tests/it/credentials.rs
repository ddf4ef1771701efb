//! A secret of one rule: its command gets it, and nobody else does: not the caller, the listing, the records,
//! the captures, another rule's command, or what looks into the broker's memory afterwards.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;

use nix::sys::signal::Signal;

use crate::harness::{
    Broker, Pid, SOON, Setup, Status, TempDir, chmod, frame, needs, needs_root, sluice, within,
};

/// Nothing on this machine holds it but for these tests.
const SECRET: &str = "tombola-93f1c2a7-cabinet";

const RULES: &str = "\
defaults:
  stdoutfile = @DIR@/out#$call
  stderrfile = @DIR@/err#$call

; What the service says of us.
/bin/sh -c 'echo has ${#TOKEN}; env | grep -c TOKEN'
  credential = service-token as TOKEN

; The environment of another rule's command.
/usr/bin/env

/bin/cat -- #file
  allow_any = file

/bin/sh -c #script
  allow_any = script
";

/// A directory of credentials in the home, with this secret, and its newline.
fn secret(dir: &TempDir) {
    dir.mkdir(".config", 0o755);
    dir.mkdir(".config/sluice", 0o755);
    dir.mkdir(".config/sluice/credentials", 0o700);
    dir.write(".config/sluice/credentials/service-token", format!("{SECRET}\n"));
}

fn with_secret(rules: &str) -> Setup {
    Broker::new(rules).arranged(secret)
}

/// All files below a directory that hold the secret, but for the credential itself.
fn holding(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(&dir).expect("a directory").flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                dirs.push(path);
            } else if path.is_file() && holds(&fs::read(&path).expect("readable")) {
                found.push(path.display().to_string());
            }
        }
    }
    found.retain(|path| !path.ends_with(".config/sluice/credentials/service-token"));
    found
}

fn holds(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

/// Whether the secret is in a process's writable memory.
fn remembers(process: Pid) -> bool {
    let Ok(maps) = fs::read_to_string(format!("/proc/{}/maps", process.0)) else { return false };
    let Ok(mut memory) = File::open(format!("/proc/{}/mem", process.0)) else { return false };
    maps.lines().filter(|line| line.contains(" rw")).any(|line| {
        let (start, end) = line.split_whitespace().next().and_then(|at| at.split_once('-')).expect("a range");
        let at = |hex| u64::from_str_radix(hex, 16).expect("a number");
        let mut bytes = vec![0; usize::try_from(at(end) - at(start)).expect("it fits")];
        let read = memory.seek(SeekFrom::Start(at(start))).and_then(|_| memory.read_exact(&mut bytes));
        read.is_ok() && holds(&bytes)
    })
}

#[test]
fn the_rules_command_has_it_and_no_record_listing_or_output_does() {
    let broker = with_secret(RULES).start();
    let script = "echo has ${#TOKEN}; env | grep -c TOKEN";
    let own = format!("has {}\n1\n", SECRET.len());
    broker.call(["/bin/sh", "-c", script]).exited(0).printed(&own).audited(["start", "exit status=0"]);
    assert!(!holds(broker.listing().as_bytes()));
    let checked = sluice(["check".as_ref(), broker.rules_path().as_os_str()]).exited(0);
    assert!(checked.stdout().contains("credential = service-token as TOKEN"), "{}", checked.stdout());
    assert!(!holds(checked.stdout().as_bytes()) && !holds(checked.stderr().as_bytes()));
    assert!(!holds(broker.said().as_bytes()));
    assert_eq!(holding(broker.dir()), Vec::<String>::new());
}

#[test]
fn what_a_command_prints_of_it_is_found_where_this_test_looks() {
    // The control of the others: a rule that gives its secret away.
    let broker =
        with_secret(&RULES.replace("/usr/bin/env", "/usr/bin/env\n  credential = service-token as T"));
    let broker = broker.start();
    assert!(broker.call(["/usr/bin/env"]).exited(0).text().contains(&format!("\nT={SECRET}\n")));
    assert!(holding(broker.dir()).iter().any(|path| path.contains("/out")), "the capture has it");
}

#[test]
fn another_rules_command_does_not_get_it() {
    let broker = with_secret(RULES).env("CREDENTIALS_OF", "nobody").start();
    let mut seen = broker.call(["/usr/bin/env"]).exited(0).text();
    seen += &broker.sh("env; cat /proc/self/environ; set").exited(0).text();
    seen += &broker.sh("cat /proc/self/cmdline; ls -l /proc/self/fd; cat <&0").exited(0).text();
    seen += &broker.call(["/bin/cat", "--", "/proc/self/environ"]).exited(0).text();
    assert!(!holds(seen.as_bytes()) && !seen.contains("TOKEN"), "{seen}");
}

#[test]
fn a_caller_cannot_talk_the_rule_into_another_command_line() {
    let broker = with_secret(
        "
        /bin/sh -c 'echo ${#TOKEN}' #word
          credential = service-token as TOKEN
          word       = [a-z]+
        ",
    );
    let broker = broker.start();
    let own = "echo ${#TOKEN}";
    broker.call(["/bin/sh", "-c", own, "x"]).exited(0).printed(&format!("{}\n", SECRET.len()));
    for words in [
        &["/bin/sh", "-c", "env", "x"][..],
        &["/bin/sh", "-c", own, "x", "env"],
        &["/bin/sh", "-c", own],
        &["/bin/sh", "-c", own, "$(env)"],
        &["/bin/sh", "-xc", own, "x"],
        &["env"],
        &["TOKEN=x", "/bin/sh", "-c", own, "x"],
    ] {
        broker.request(words).run().refused(Status::NO_RULE);
    }
    let bytes = frame(&["/bin/sh", "-c", own, "x\0TOKEN"]);
    let input = File::open("/dev/null").expect("there is one");
    let fds = [&input, &input, &input].map(std::os::fd::AsFd::as_fd);
    broker.raw(&bytes, &fds).refused(Status::PROTO);
    // What comes on stdin goes to the command, whose words do not read it.
    broker.request(&["/bin/sh", "-c", own, "x"]).stdin("env\n").run().exited(0).printed("24\n");
}

#[test]
fn its_memory_is_overwritten_once_the_command_has_it() {
    if !needs_root() {
        return;
    }
    let broker = with_secret(
        "
        defaults:
          background = kill

        /bin/sh -c 'echo $$; read line'
          credential = service-token as TOKEN

        /bin/true
        ",
    );
    let broker = broker.start();
    let mut running = broker.request(&["/bin/sh", "-c", "echo $$; read line"]).stdin_open().begin();
    let command = running.pid();
    assert!(remembers(command), "the control: the command has it in its memory");
    // A launcher's slot is overwritten when the next launchers are made.
    (0..20).for_each(|_| drop(broker.call(["/bin/true"]).exited(0)));
    let others =
        || [broker.pid()].into_iter().chain(broker.pid().descendants()).filter(|pid| pid.0 != command.0);
    let forget = || (!others().any(remembers)).then_some(());
    within(SOON, "no process of the broker's remembers the secret", forget);
    let line = command.command_line();
    assert!(!holds(line.as_bytes()), "{line}");
    running.close_stdin();
    running.wait().exited(1);
}

#[test]
fn what_is_missing_or_unfit_refuses_the_call_by_its_name_and_place() {
    let rule = "/bin/sh -c 'echo ${#TOKEN}'\n  credential = service-token as TOKEN\n";
    let words = ["/bin/sh", "-c", "echo ${#TOKEN}"];
    let broker = with_secret(rule).start();
    let place = broker.dir().join(".config/sluice/credentials");
    let file = place.join("service-token");
    broker.call(words).exited(0).printed("24\n");
    let refused = |why: &str| {
        let answer = broker.call(words).refused(Status::SPAWN);
        let record = answer.record("reject");
        assert!(record.is("reject reason=credential"), "{record:?}");
        let said = format!("{record:?}");
        assert!(said.contains("credential service-token: ") && said.contains(why), "want {why:?}: {said}");
        assert!(said.contains(&*place.to_string_lossy()) && !said.contains("tombola"), "{said}");
    };
    chmod(&place, 0o750);
    refused("can be read by others (mode 0750); do: chmod 700");
    chmod(&place, 0o700);
    chmod(&file, 0o622);
    refused("can be written by others");
    fs::remove_file(&file).expect("removed");
    refused("No such file or directory");
    let set = |content: &[u8]| fs::write(&file, content).expect("written");
    set(b"tombola\0");
    chmod(&file, 0o600);
    refused("NUL");
    set(b"\n");
    refused("it is empty");
    set(&[b'x'; 65 * 1024]);
    refused("more than 65536 bytes");
    fs::remove_file(&file).expect("removed");
    symlink("/etc/hostname", &file).expect("linked");
    refused("is a symbolic link");
    fs::remove_file(&file).expect("removed");
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("made");
    refused("is not a regular file");
    fs::remove_file(&file).expect("removed");
    fs::create_dir(&file).expect("made");
    refused("is not a regular file");
    fs::remove_dir(&file).expect("removed");
    set(SECRET.as_bytes());
    broker.call(words).exited(0).printed("24\n");
}

#[test]
fn a_caller_hears_neither_the_name_nor_the_place() {
    let broker = Broker::new("/bin/true\n  credential = service-token as TOKEN\n").start();
    let ended = crate::harness::sluicify([broker.socket().as_os_str(), "/bin/true".as_ref()]);
    let said = ended.stderr();
    assert!(said.contains("a secret that the command needs cannot be read"), "{said}");
    assert!(!said.contains("service-token") && !said.contains("credentials/"), "{said}");
}

#[test]
fn the_managers_directory_comes_first_and_no_command_hears_of_it() {
    let rules = "/bin/sh -c 'printf %s \"$TOKEN\"'\n  credential = service-token as TOKEN\n\n/usr/bin/env\n";
    let setup = with_secret(rules).arranged(|dir| {
        dir.mkdir("given", 0o550);
        chmod(&dir.join("given"), 0o750);
        dir.write("given/service-token", "of the manager");
    });
    let given = setup.dir().join("given").display().to_string();
    let broker = setup.env("CREDENTIALS_DIRECTORY", &given).start();
    let words = ["/bin/sh", "-c", "printf %s \"$TOKEN\""];
    broker.call(words).exited(0).printed("of the manager");
    let seen = broker.call(["/usr/bin/env"]).exited(0).text();
    assert!(!seen.contains("CREDENTIALS_DIRECTORY"), "{seen}");
    fs::remove_file(broker.dir().join("given/service-token")).expect("removed");
    broker.call(words).refused(Status::SPAWN).audited([&*format!("reject reason=credential status={}", -4)]);
    chmod(&broker.dir().join("given"), 0o755);
    broker.call(words).refused(Status::SPAWN);
}

#[test]
fn it_is_read_anew_for_each_call() {
    let broker = with_secret(RULES).start();
    let script = "echo has ${#TOKEN}; env | grep -c TOKEN";
    broker.call(["/bin/sh", "-c", script]).exited(0).printed("has 24\n1\n");
    fs::write(broker.dir().join(".config/sluice/credentials/service-token"), "four").expect("written");
    broker.call(["/bin/sh", "-c", script]).exited(0).printed("has 4\n1\n");
}

#[test]
fn a_command_with_a_reaper_has_it_too() {
    let broker = with_secret(
        "
        /bin/sh -c 'sleep 100 & echo ${#TOKEN} $!'
          credential = service-token as TOKEN
          background = keep
        ",
    );
    let broker = broker.start();
    let text = broker.call(["/bin/sh", "-c", "sleep 100 & echo ${#TOKEN} $!"]).exited(0).text();
    let (length, pid) = text.trim().split_once(' ').expect("two numbers");
    assert_eq!(length, "24");
    Pid(pid.parse().expect("a number")).signal(Signal::SIGKILL);
}

/// A rule that reads its secret from a file, with descriptors of the caller's choice before it.
const FILE_RULE: &str = "
/bin/sh -c #script -- #path
  allow_any  = script
  path       = in @DIR@ as fd
  cwd        = @DIR@
  credential = service-token as file TOKEN_FILE
  credential = key as file KEY_FILE
";

fn with_files() -> Broker {
    let setup = with_secret(FILE_RULE).arranged(|dir| {
        dir.write(".config/sluice/credentials/key", b"\0key\n\n");
    });
    setup.start()
}

#[test]
fn as_file_it_is_behind_the_descriptors_of_slots_byte_for_byte() {
    let broker = with_files();
    let run = |script: &str| broker.call(["/bin/sh", "-c", script, "--", "audit"]).exited(0).text();
    assert_eq!(run("echo $TOKEN_FILE $KEY_FILE $1"), "/proc/self/fd/4 /proc/self/fd/5 /proc/self/fd/3\n");
    assert_eq!(run("cat $TOKEN_FILE"), format!("{SECRET}\n"));
    assert_eq!(run("cat $TOKEN_FILE $TOKEN_FILE; cat <&4; cat $TOKEN_FILE"), format!("{SECRET}\n").repeat(4));
    assert_eq!(run("od -An -c $KEY_FILE | tr -d ' '"), "\\0key\\n\\n\n");
    // The shell's own: `ls` is another process, because a command follows it.
    assert_eq!(run("ls /proc/$$/fd; :"), "0\n1\n2\n3\n4\n5\n");
    assert_eq!(run("stat -Lc '%a %F %s' $TOKEN_FILE"), format!("400 regular file {}\n", SECRET.len() + 1));
}

#[test]
fn a_file_with_a_secret_takes_no_byte_and_runs_as_no_program() {
    let broker = with_files();
    let run = |script: &str| broker.call(["/bin/sh", "-c", script, "--", "audit"]).exited(0).text();
    let denied =
        run("(echo x > $TOKEN_FILE) 2>&1 || echo refused; (echo x >> /proc/self/fd/4) 2>&1 || echo refused");
    assert_eq!(denied.matches("refused").count(), 2, "{denied}");
    // The descriptor itself was made for writing, and is sealed.
    let denied = run("(echo x >&4) 2>&1 || echo refused; truncate -s 0 /proc/self/fd/4 2>&1 || echo refused");
    assert_eq!(denied.matches("refused").count(), 2, "{denied}");
    assert_eq!(run("cat $TOKEN_FILE"), format!("{SECRET}\n"));
    let denied = run("chmod 700 $KEY_FILE 2>&1 || echo refused; $KEY_FILE 2>&1 || echo refused");
    assert!(denied.contains("refused"), "{denied}");
}

#[test]
fn a_file_with_a_secret_is_in_no_environment_record_or_other_command() {
    let broker = Broker::new(
        "
        /bin/sh -c 'wc -c < $TOKEN_FILE; cat /proc/self/environ'
          credential = service-token as file TOKEN_FILE
          stdoutfile = @DIR@/out#$call

        /bin/sh -c 'cat /proc/self/fd/3; ls /proc/self/fd; env'
          stdoutfile = @DIR@/out#$call
        ",
    );
    let broker = broker.arranged(secret).start();
    let text = broker.call(["/bin/sh", "-c", "wc -c < $TOKEN_FILE; cat /proc/self/environ"]).exited(0).text();
    assert!(
        text.starts_with("25\n") && text.contains("TOKEN_FILE=/proc/self/fd/3") && !holds(text.as_bytes()),
        "{text}"
    );
    let other = broker.call(["/bin/sh", "-c", "cat /proc/self/fd/3; ls /proc/self/fd; env"]).exited(0).text();
    assert!(!holds(other.as_bytes()) && !other.contains("TOKEN_FILE"), "{other}");
    assert_eq!(holding(broker.dir()), Vec::<String>::new());
}

#[test]
fn a_megabyte_of_secrets_is_given_and_more_is_refused() {
    let broker = with_secret("/usr/bin/sha256sum\n  stdin = null\n  credential = service-token as file F\n\n/bin/sh -c 'wc -c < $F'\n  credential = service-token as file F\n").start();
    let set = |length| {
        fs::write(broker.dir().join(".config/sluice/credentials/service-token"), vec![b'x'; length])
            .expect("written")
    };
    set(1 << 20);
    broker.call(["/bin/sh", "-c", "wc -c < $F"]).exited(0).printed("1048576\n");
    set((1 << 20) + 1);
    broker.call(["/bin/sh", "-c", "wc -c < $F"]).refused(Status::SPAWN).audited(["reject reason=credential"]);
}

#[test]
fn the_memory_that_held_a_file_is_overwritten_too() {
    if !needs_root() {
        return;
    }
    let script = "echo $$; read line";
    let broker = Broker::new(
        "
        /bin/sh -c 'echo $$; read line'
          credential = service-token as file TOKEN_FILE
          background = keep

        /bin/true
        ",
    );
    let broker = broker.arranged(secret).start();
    let mut running = broker.request(&["/bin/sh", "-c", script]).stdin_open().begin();
    let command = running.pid();
    let file = format!("/proc/{}/fd/3", command.0);
    assert!(holds(&fs::read(file).expect("root reads it")), "the control: the command has it");
    (0..20).for_each(|_| drop(broker.call(["/bin/true"]).exited(0)));
    let all = || [broker.pid()].into_iter().chain(broker.pid().descendants());
    within(SOON, "no process remembers the secret", || (!all().any(remembers)).then_some(()));
    running.close_stdin();
    running.wait().exited(1);
}

#[test]
fn a_confined_command_has_its_secret_and_not_the_home() {
    for profile in ["system", "workspace"] {
        let broker = with_secret(&format!(
            "
            /bin/sh -c #script
              allow_any  = script
              cwd        = @DIR@/work
              confine    = {profile}
              on_missing = refuse
              credential = service-token as TOKEN
              credential = service-token as file TOKEN_FILE
            "
        ));
        let broker = broker.arranged(|dir| drop(dir.mkdir("work", 0o700))).start();
        broker.sh("printf %s \"$TOKEN\"").exited(0).printed(SECRET);
        broker.sh("cat $TOKEN_FILE; cat <&3").exited(0).printed(&format!("{SECRET}\n").repeat(2));
        let source = broker.dir().join(".config/sluice/credentials/service-token").display().to_string();
        let refused = broker.sh(&format!("cat {source} 2>&1 || echo refused")).exited(0).text();
        assert!(refused.ends_with("refused\n") && !holds(refused.as_bytes()), "{profile}: {refused}");
    }
}

#[test]
fn a_confined_command_cannot_look_at_the_secret_of_another_that_runs() {
    let broker = with_secret(
        "
        /bin/sh -c 'echo $$; read line'
          confine    = system
          credential = service-token as TOKEN
          credential = service-token as file TOKEN_FILE

        /bin/sh -c #script
          allow_any  = script
          confine    = system

        /usr/bin/cat #path
          allow_any  = path
        ",
    );
    let broker = broker.start();
    let mut running = broker.request(&["/bin/sh", "-c", "echo $$; read line"]).stdin_open().begin();
    let pid = running.pid().0;
    for place in ["environ", "fd/3", "mem"] {
        let path = format!("/proc/{pid}/{place}");
        let refused = broker.sh(&format!("cat {path} 2>&1 || echo refused")).exited(0).text();
        assert!(refused.ends_with("refused\n") && !holds(refused.as_bytes()), "{place}: {refused}");
    }
    // The control, and what is not promised: a command that nothing confines can.
    let seen = broker.call(["/usr/bin/cat", &format!("/proc/{pid}/environ")]).exited(0).stdout;
    assert!(holds(&seen));
    let seen = broker.call(["/usr/bin/cat", &format!("/proc/{pid}/fd/3")]).exited(0).stdout;
    assert!(holds(&seen));
    running.close_stdin();
    running.wait().exited(1);
}

#[test]
fn a_confined_curl_sends_a_header_that_no_command_line_has() {
    if !needs("curl", "curl") {
        return;
    }
    let service = TcpListener::bind(("127.0.0.1", 0)).expect("a port of this machine");
    let port = service.local_addr().expect("it has a port").port();
    let heard = thread::spawn(move || {
        let (mut connection, _) = service.accept().expect("curl comes");
        let mut request = BufReader::new(connection.try_clone().expect("a copy")).lines();
        let lines: Vec<_> =
            request.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        connection.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n").expect("answered");
        lines
    });
    let broker = Broker::new(&format!(
        "
        profile report:
          extends = system
          net     = tcp:{port}

        curl -q --silent --show-error --header @/proc/self/fd/3 http://127.0.0.1:{port}/status
          confine    = report
          credential = ci-header as file CI_HEADER
        "
    ));
    let broker = broker.arranged(|dir| {
        secret(dir);
        dir.write(".config/sluice/credentials/ci-header", format!("Authorization: Bearer {SECRET}\n"));
    });
    let broker = broker.start();
    let url = format!("http://127.0.0.1:{port}/status");
    let words = ["curl", "-q", "--silent", "--show-error", "--header", "@/proc/self/fd/3", &url];
    broker.call(words).exited(0).printed("ok\n");
    let lines = heard.join().expect("the service ends");
    assert!(lines.contains(&format!("Authorization: Bearer {SECRET}")), "{lines:?}");
}
