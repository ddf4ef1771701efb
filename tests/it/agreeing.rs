//! What `serve` refuses, `check` says: rules that are wrong in different ways, each looked at by both, in the
//! same environment; and what `check` lets pass, a broker serves.

use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::{Broker, Ended, TempDir, chmod, run, serve_words, sluice_bin};

/// One that can be served; `@DIR@` is the directory of the file.
const GOOD: &str = "defaults:\n  logfile = @DIR@/audit/manifest.jsonl\n\n/bin/echo a\n";

/// A way to be wrong: the text, what is done to the directory, and what both say.
struct Wrong {
    text: &'static str,
    arrange: fn(&TempDir),
    said: &'static str,
}

const fn text(text: &'static str, said: &'static str) -> Wrong {
    Wrong { text, arrange: |_| {}, said }
}

const fn place(arrange: fn(&TempDir), said: &'static str) -> Wrong {
    Wrong { text: GOOD, arrange, said }
}

const TEXTS: [Wrong; 41] = [
    text("", "no rule in this file"),
    text("; A comment.\n", "no rule in this file"),
    text("defaults:\n  cwd = /\n", "no rule in this file"),
    text("/bin/echo a", ":1:1: error: "),
    text("/bin/echo a\0b\n", ":1:12: error: "),
    text("\u{feff}/bin/echo a\n", ":1:1: error: "),
    text("bin/echo a\n", ":1:1: error: "),
    text("~/bin/x a\n", ":1:1: error: "),
    text("defaults\n  cwd = /\n", ":1:1: error: "),
    text("/bin/echo 'a\n", ":1:11: error: "),
    text("/bin/echo a;b\n", ":1:12: error: "),
    text("/bin/echo $USER\n", ":1:11: error: "),
    text("/bin/echo $XDG_RUNTIME_DIR\n", ":1:11: error: "),
    text("/bin/echo $\"a\"\n", ":1:11: error: "),
    text("/bin/echo $'\\xff'\n", ":1:13: error: "),
    text("/bin/echo #n\n", ":1:11: error: "),
    text("/bin/echo #n #n\n  n = a\n", ":1:14: error: "),
    text("/bin/echo #n... a\n  n = a\n", ":1:11: error: "),
    text("/bin/echo #n\n  n = (\n", ":2:7: error: "),
    text("/bin/echo #n\n  n = a)|(b\n", ":2:8: error: "),
    text("/bin/echo #n\n  n = in relative\n", ":2:10: error: "),
    text("/bin/echo #n\n  n = a\n  allow_any = n\n", ":2:3: error: "),
    text("/bin/echo #n\n  allow_any = n\n  allow_dash = n\n", ":3:16: error: "),
    text("/bin/echo a\n  nope = a\n", ":2:3: error: "),
    text("/bin/echo a\n  cwd = /\n  cwd = /\n", ":3:3: error: "),
    text("/bin/echo a\n  timeout = 99999999999999999999h\n", ":2:13: error: "),
    text("/bin/echo a\n  umask = 999\n", ":2:11: error: "),
    text("/bin/echo a\n  cwd = here\n", ":2:9: error: "),
    text("/bin/echo a\n  exec_path = bin\n", ":2:15: error: "),
    text("/bin/echo a\n  setenv = NAME\n", ":2:12: error: "),
    text("/bin/echo a\n  stdoutfile = $HOME/#$nope\n", ":2:22: error: "),
    text("/bin/echo a\n  confine = sistem\n", ":2:13: error: "),
    text("/bin/echo a\n  confine = workspace\n", ":2:13: error: "),
    text("/bin/echo a\n  hide = /a\n  read = /a\n", ":3:10: error: "),
    text("profile p:\n  extends = p\n\n/bin/echo a\n", ":2:13: error: "),
    text("/bin/echo a\n  accepts = /bin/echo b\n", ":2:13: error: "),
    text("/bin/echo a\n  refuses = /bin/echo a\n", ":2:13: error: "),
    text("defaults:\n  scope = off\n\n/bin/echo a\n  MemoryMax = 1M\n", ":4:1: error: "),
    text("include @DIR@/nowhere.rules\n", ":1:9: error: "),
    text("include @DIR@/it.rules\n", ":1:9: error: "),
    text("defaults:\n  max_calls = 100000000\n\n/bin/echo a\n", ":2:15: error: "),
];

const PLACES: [Wrong; 7] = [
    place(|dir| chmod(&dir.mkdir("audit", 0o777), 0o777), "can be written by others (mode 0777)"),
    place(|dir| drop(dir.write("audit", "a file")), "audit"),
    place(
        |dir| {
            dir.mkdir("audit", 0o700);
            dir.mkdir("audit/manifest.jsonl", 0o700);
        },
        "manifest.jsonl is not a regular file",
    ),
    place(
        |dir| {
            dir.mkdir("audit", 0o700);
            symlink("/etc/passwd", dir.join("audit/manifest.jsonl")).expect("an own directory");
        },
        "manifest.jsonl is a symbolic link",
    ),
    place(
        |dir| {
            dir.mkdir("audit", 0o700);
            nix::unistd::mkfifo(&dir.join("audit/manifest.jsonl"), nix::sys::stat::Mode::S_IRWXU)
                .expect("an own directory");
        },
        "manifest.jsonl is not a regular file",
    ),
    Wrong {
        text: "/bin/echo a\n  exec_path = @DIR@/bin\n",
        arrange: |dir| chmod(&dir.mkdir("bin", 0o777), 0o777),
        said: "bin can be written by others (mode 0777)",
    },
    Wrong {
        text: "defaults:\n  env = HOME\n\n/bin/echo a\n",
        arrange: |dir| drop(dir.write("no-home", "")),
        said: "nowhere to record",
    },
];

/// Files that `check` looks at all the same, and warns of.
const DISTRUSTED: [Wrong; 3] = [
    place(|dir| chmod(&dir.join("it.rules"), 0o666), "it.rules can be written by others (mode 0666)"),
    Wrong {
        text: "include rules/other.rules\n",
        arrange: |dir| {
            let rules = dir.mkdir("rules", 0o777);
            dir.write("rules/other.rules", "/bin/echo a\n");
            chmod(&rules, 0o777);
        },
        said: "rules can be written by others (mode 0777)",
    },
    Wrong {
        text: "include @DIR@/other.rules\n",
        arrange: |dir| chmod(&dir.write("other.rules", "/bin/echo a\n"), 0o666),
        said: "other.rules can be written by others (mode 0666)",
    },
];

/// What both programs say about the file, `check` first.
fn both(wrong: &Wrong) -> [Ended; 2] {
    both_under(&[], wrong)
}

/// The same, started by other words.
fn both_under(under: &[&str], Wrong { text, arrange, .. }: &Wrong) -> [Ended; 2] {
    let dir = TempDir::new();
    let at = dir.path().to_string_lossy().into_owned();
    let rules = dir.write("it.rules", text.replace("@DIR@", &at)).to_string_lossy().into_owned();
    arrange(&dir);
    let home = format!("HOME={at}");
    let home = if dir.join("no-home").exists() { "NOHOME=" } else { &home };
    let sluice = |words: &[&str]| {
        let program = sluice_bin().to_string_lossy().into_owned();
        run("env".into(), [&["-i", home, "PATH=/usr/bin:/bin"], under, &[&program], words].concat(), b"")
    };
    let socket = format!("{at}/s.sock");
    let checked = sluice(&["check", &rules]);
    let served = sluice(&[serve_words(), &["--rules", &rules, "--socket", &socket]].concat());
    [checked, served]
}

/// The errors in what a program said: where each is, and what is wrong.
fn errors(ended: &Ended) -> Vec<String> {
    let said = ended.stdout() + &ended.stderr();
    let told = said.lines().filter_map(|line| line.split_once("error: "));
    told.map(|(place, why)| format!("{}{why}", place.strip_prefix("sluice: ").unwrap_or(place))).collect()
}

#[test]
fn text_that_is_not_served_is_what_check_finds_wrong() {
    for wrong in TEXTS {
        let [checked, served] = both(&wrong);
        let (checked, served) = (checked.exited(1).said(&[wrong.said]), served.exited(2).said(&[wrong.said]));
        assert_eq!(errors(&checked), errors(&served), "{checked}\n{served}");
    }
}

#[test]
fn places_that_keep_rules_from_being_served_are_errors_of_check() {
    for wrong in PLACES {
        let [checked, served] = both(&wrong);
        checked.exited(1).said(&["it.rules:", "error: ", wrong.said]);
        served.exited(2).said(&[wrong.said]);
    }
}

#[test]
fn a_limit_of_descriptors_that_keeps_rules_from_being_served_is_an_error_of_check() {
    let under = ["prlimit", "--nofile=256:256", "--"];
    let [checked, served] = both_under(&under, &text("/bin/echo a\n", ""));
    checked.exited(1).said(&["it.rules: error: ", "the limit is 256", "max_calls"]);
    served.exited(2).said(&["error: ", "the limit is 256", "max_calls"]);
}

#[test]
fn rules_that_no_broker_would_trust_are_warned_of() {
    for wrong in DISTRUSTED {
        let [checked, served] = both(&wrong);
        checked.exited(0).said(&["warning: a broker would refuse to serve this", wrong.said]);
        served.exited(2).said(&[wrong.said]);
    }
}

#[test]
fn rules_that_the_brokers_of_their_place_would_not_trust_are_wrong() {
    let dir = TempDir::new();
    [".config", ".config/sluice"].iter().for_each(|place| drop(dir.mkdir(place, 0o700)));
    chmod(&dir.write(".config/sluice/agent.rules", "/bin/echo a\n"), 0o666);
    let home = format!("HOME={}", dir.path().display());
    let program = sluice_bin().to_string_lossy().into_owned();
    let check = |words: &[&str]| run("env".into(), [&["-i", &home, &program, "check"], words].concat(), b"");
    let refused = "agent.rules: error: a broker would refuse to serve this";
    let all = check(&["agent"]).exited(1).said(&[refused, "agent.rules: refused, as it stands; rules: 1"]);
    assert!(!all.stdout().contains("good"), "{all}");
    // What a reload by systemd prints: the error and nothing else.
    let quiet = check(&["--quiet", "agent"]).exited(1).said(&[refused]);
    assert_eq!(quiet.stdout().lines().count(), 1, "{quiet}");
    let said = check(&["--json", "agent"]).exited(1).stdout();
    let said: serde_json::Value = serde_json::from_str(&said).expect("one object");
    assert!(said["ok"] == false && said["errors"][0]["message"].is_string(), "{said}");
}

#[test]
fn what_check_lets_pass_is_served() {
    let good = [
        GOOD,
        "git --no-pager log -n #n\n  n = [1-9][0-9]?\n",
        "/bin/echo $'a\\tb' \"$HOME\" '$HOME' a\\;b ; and a comment\n",
        "defaults:\n  max_calls = 8\n  audit = best-effort\n\n/no/such/program #x...\n  x = in @DIR@\n",
    ];
    for text in good {
        let setup = Broker::new(text);
        let rules = setup.rules_path();
        let broker = setup.start();
        run(sluice_bin(), ["check".into(), rules], b"").exited(0);
        broker.serves_on();
    }
}

#[test]
fn rules_on_stdin_are_looked_at_as_a_file_is() {
    let check = |words: &[&str], text: &str| run(sluice_bin(), words, text.as_bytes());
    check(&["check", "-"], "/bin/echo #n\n  n = [a-z]+\n").exited(0).said(&["/bin/echo", "[a-z]+"]);
    check(&["check", "--quiet", "-"], "/bin/echo a\n").exited(0).printed("");
    check(&["check", "-"], "/bin/echo #n\n").exited(1).said(&["<stdin>:1:11: error: "]);
    check(&["check", "-"], "/bin/echo a").exited(1).said(&["<stdin>:1:1: error: ", "newline"]);
    check(&["check", "-"], "").exited(1).said(&["<stdin>:1:1: error: no rule"]);
    let wrong = check(&["check", "--json", "-"], "/bin/echo #n\n").exited(1);
    let wrong: serde_json::Value = serde_json::from_str(&wrong.stdout()).expect("one object");
    assert!(wrong["ok"] == false && wrong["errors"][0]["line"] == 1, "{wrong}");
    check(&["match", "-", "/bin/echo", "b"], "/bin/echo #n\n  n = a|b\n").exited(0);
    check(&["match", "-", "/bin/echo", "c"], "/bin/echo #n\n  n = a|b\n").exited(1);
    // Nobody can write what stands there, and a file called `-` is another one.
    let dir = TempDir::new();
    fs::write(dir.join("-"), "/bin/echo #n\n").expect("an own directory");
    let dash = format!("{}/-", dir.path().display());
    check(&["check", &dash, "-"], "/bin/echo a\n").exited(1).said(&["/-:1:11: error: "]);
}
