//! The operator's commands that look at a rules file: `check` and `match`.

use crate::harness::{Ended, TempDir, run, serve, sluice, sluice_bin};

const RULES: &str = "\
; Says hello to somebody.
/bin/echo hello #name
  name = [a-z]+

git log -n #n
  n = [1-9][0-9]?

/bin/cat #path
  path = in /usr/share
";

fn with_rules(rules: &str, words: impl FnOnce(&str) -> Ended) -> Ended {
    let dir = TempDir::new();
    let path = dir.write("some.rules", rules).to_string_lossy().into_owned();
    words(&path)
}

#[test]
fn check_shows_what_each_rule_grants() {
    with_rules(RULES, |path| sluice(["check", path])).exited(0).said(&[
        "/bin/echo",
        "git",
        "/bin/cat",
        "name",
        "[a-z]+",
        "/usr/share",
    ]);
}

#[test]
fn check_points_at_the_place_of_an_error() {
    with_rules("/bin/echo #name\n", |path| sluice(["check", path])).exited(1).said(&[
        "some.rules:1:11: error:",
        "/bin/echo #name",
        "^",
    ]);
}

#[test]
fn check_looks_at_every_file() {
    let dir = TempDir::new();
    let good = dir.write("good.rules", RULES).to_string_lossy().into_owned();
    let bad = dir.write("bad.rules", "relative/x\n").to_string_lossy().into_owned();
    sluice(["check", &good, &bad]).exited(1).said(&["bad.rules:1:"]);
    sluice(["check", &bad, &good]).exited(1).said(&["bad.rules:1:"]);
    sluice(["check", &good, &good]).exited(0);
}

#[test]
fn check_of_a_missing_file_is_a_no() {
    sluice(["check", "/nonexistent/x.rules"]).exited(1).said(&["/nonexistent/x.rules"]);
}

#[test]
fn match_shows_the_rule_and_its_values() {
    with_rules(RULES, |path| sluice(["match", path, "/bin/echo", "hello", "bob"])).exited(0).said(&[
        "some.rules:2",
        "name",
        "bob",
    ]);
}

#[test]
fn match_says_why_not() {
    with_rules(RULES, |path| sluice(["match", path, "/bin/echo", "hello", "Bob"])).exited(1).said(&["name"]);
    with_rules(RULES, |path| sluice(["match", path, "/bin/echo", "hello", "-b"])).exited(1).said(&["-"]);
    with_rules(RULES, |path| sluice(["match", path, "/bin/cat", "/etc/passwd"]))
        .exited(1)
        .said(&["/usr/share"]);
    with_rules(RULES, |path| sluice(["match", path, "svn"])).exited(1).said(&["svn"]);
}

#[test]
fn match_takes_words_that_look_like_its_own() {
    let rules = "tool #flag\n  flag = --?[a-z]+\n  allow_dash = flag\n";
    for flag in ["--help", "-h", "--version", "--rules"] {
        with_rules(rules, |path| sluice(["match", path, "tool", flag])).exited(0).said(&[flag]);
    }
}

#[test]
fn wrong_usage_is_no_answer() {
    sluice(["nonsense"]).exited(2);
    sluice(["serve"]).exited(2);
    sluice(["match", "/nonexistent/x.rules", "true"]).exited(2);
    serve(["--rules", "/nonexistent/x.rules", "--socket", "/nonexistent/s"]).exited(2).said(&["x.rules"]);
    assert_eq!(sluice([""; 0]).code(), Some(2));
}

#[test]
fn mcp_says_what_to_install_where_its_program_is_not_there() {
    let dir = TempDir::new();
    let path = dir.path().to_string_lossy().into_owned();
    let alone = dir.join("sluice");
    std::fs::copy(sluice_bin(), &alone).expect("a copy");
    let words = ["-i".into(), format!("PATH={path}"), alone.to_string_lossy().into_owned()];
    let ended = run("env".into(), words.into_iter().chain(["mcp", "--socket", "/s"].map(str::to_owned)), b"");
    ended.exited(2).complained(&["sluice: sluice-mcp is not installed", "packaging/mcp"]);
}

#[test]
fn version_and_help_are_there() {
    sluice(["--version"]).exited(0).said(&[env!("CARGO_PKG_VERSION")]);
    sluice(["version"]).exited(0).said(&[env!("CARGO_PKG_VERSION")]);
    sluice(["version", "--help"]).exited(0).said(&["Print the version"]);
    sluice(["help"]).exited(0).said(&["version", "sluice help rules"]);
    sluice(["help", "rules"]).exited(0).said(&["a slot", "allow_any"]);
    sluice(["help", "check"]).exited(0).said(&["--deny-warnings"]);
    sluice(["--help"]).exited(0).said(&["serve", "check", "match"]);
}

#[test]
fn no_colour_reaches_a_pipe_and_no_control_character_a_terminal() {
    let rules = "/bin/echo #name\n  name = [a-z]+\n";
    let ended =
        with_rules(rules, |path| sluice(["match", path, "/bin/echo", "\u{1b}[31mred\u{7}"])).exited(1);
    let said = ended.stdout() + &ended.stderr();
    assert!(said.chars().all(|one| one == '\n' || !one.is_control()), "{said:?}");
    let ended = with_rules("/bin/echo \u{1b}[31m\u{7} #x\n", |path| sluice(["check", path])).exited(1);
    let said = ended.stdout() + &ended.stderr();
    assert!(said.chars().all(|one| one == '\n' || !one.is_control()), "{said:?}");
}

/// Runs `sluice` with this home; in it are the rules `agent` and `ci`.
fn at_home(words: &[&str]) -> Ended {
    let home = TempDir::new();
    std::fs::create_dir_all(home.join(".config/sluice")).expect("directories");
    home.write(".config/sluice/agent.rules", RULES);
    home.write(".config/sluice/ci.rules", "/bin/true\n");
    let home = format!("HOME={}", home.path().display());
    let sluice = sluice_bin().to_string_lossy().into_owned();
    run("env".into(), [&["-u", "XDG_CONFIG_HOME", &home, &sluice], words].concat(), b"")
}

#[test]
fn rules_are_found_by_their_name() {
    at_home(&["check", "agent"]).exited(0).said(&[".config/sluice/agent.rules", "/bin/echo"]);
    at_home(&["match", "agent", "/bin/echo", "hello", "bob"]).exited(0).said(&["agent.rules:2", "bob"]);
    at_home(&["check", "agnt"]).exited(2).said(&["no rules are named agnt", "agent, ci"]);
    at_home(&["check", "agent.rules"]).exited(2).said(&[
        "no file agent.rules is here",
        "without `.rules`",
        "agent, ci",
    ]);
    at_home(&["serve", "--rules", "agnt"]).exited(2).said(&["no rules are named agnt", "agent, ci"]);
    at_home(&["match", "agnt", "true"]).exited(2).said(&["no rules are named agnt", "agent, ci"]);
}

#[test]
fn a_quiet_check_says_what_is_wrong_or_else_what_is_odd() {
    with_rules("/bin/true\n", |path| sluice(["check", "--quiet", path])).exited(0).printed("");
    let odd = with_rules("/bin/true # x\n", |path| sluice(["check", "--quiet", path])).exited(0);
    let odd = odd.said(&["some.rules:1:11: warning: `#` is a word here"]);
    assert!(!odd.stdout().contains("good"), "{odd}");
    let json = with_rules("/bin/true\n", |path| sluice(["check", "--quiet", "--json", path]));
    json.exited(0).printed("");
    let wrong = with_rules("/bin/true # x\n  b = c\n", |path| sluice(["check", "--quiet", path])).exited(1);
    let wrong = wrong.said(&["some.rules:2:3: error: "]);
    assert!(!wrong.stdout().contains("warning"), "{wrong}");
}

#[test]
fn what_keeps_rules_from_being_served_has_its_line() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = TempDir::new();
    dir.mkdir("shared", 0o700);
    let shared = dir.join("shared");
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o777)).expect("an own directory");
    let place = shared.display();
    let check = |rules: &str, want: &str| {
        with_rules(rules, |path| sluice(["check", path])).exited(1).said(&[want]);
        with_rules(rules, |path| sluice(["check", "--json", path]))
            .exited(1)
            .said(&["\"line\":", "\"column\":"]);
    };
    check("", "some.rules:1:1: error: no rule in this file");
    check(
        &format!("defaults:\n  logfile = {place}/m.jsonl\n\n/bin/true\n"),
        "some.rules:2:13: error: logfile: ",
    );
    check(&format!("defaults:\n  exec_path = {place}\n\ntrue\n"), "some.rules:2:15: error: exec_path: ");
    let second = format!("/bin/true\n  exec_path = /bin\n\ntrue\n  ; where\n  exec_path = /bin:{place}\n");
    check(&second, "some.rules:6:15: error: exec_path: ");
}

#[test]
fn amounts_are_shown_as_they_are_written() {
    let rules =
        "/bin/true\n  timeout = 60s\n  stdoutfile = $HOME/#$call\n  capture_max = 64M\n  MemoryMax = 512M\n";
    let shown = with_rules(rules, |path| sluice(["check", path])).exited(0);
    shown.said(&["timeout = 1m,", "capture_max = 64M, MemoryMax = 512M"]);
}

#[test]
fn a_program_that_others_can_change_is_not_said_to_be_absent() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = TempDir::new();
    let tool = dir.write("mytool", "#!/nonexistent/interpreter\n");
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("an own file");
    };
    mode(&tool, 0o755);
    let rules = dir.write("some.rules", format!("{}\n", tool.display())).to_string_lossy().into_owned();
    let checked = || sluice(["check", &*rules]).exited(0);
    checked().said(&["mytool begins with `#!/nonexistent/interpreter`, which is not there"]);
    mode(&tool, 0o775);
    checked().said(&["calls of this program are refused", "chmod go-w", "mytool, which is refused"]);
    mode(&tool, 0o644);
    checked().said(&["calls of this program are refused", "Permission denied"]);
}

#[test]
fn a_reader_that_has_seen_enough_changes_no_answer() {
    let dir = TempDir::new();
    let good = dir.write("good.rules", "/bin/true\n".repeat(20_000)).to_string_lossy().into_owned();
    let bad = dir.write("bad.rules", "relative/x\n".repeat(90)).to_string_lossy().into_owned();
    for (path, code) in [(good, 0), (bad, 1)] {
        let script = format!("{} check {path} | head -1; exit ${{PIPESTATUS[0]}}", sluice_bin().display());
        let ended = run("bash".into(), ["-c", &script], b"");
        assert_eq!((ended.code(), ended.stderr().as_str()), (Some(code), ""));
    }
}
