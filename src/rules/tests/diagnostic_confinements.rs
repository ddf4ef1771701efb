//! Tests of the errors of profiles and confinements, as a person sees them.

use super::load_text;

#[track_caller]
fn check(text: &str, want: &str) {
    let shown = load_text(text).expect_err("the rules are wrong");
    assert_eq!(shown, want, "\n{shown}");
}

/// One error at this place with this message and fix; the same text with `good` for `bad` loads.
#[track_caller]
fn check_one((text, bad, good): (&str, &str, &str), place: &str, message: &str, help: &str) {
    let shown = load_text(&text.replace("BAD", bad)).expect_err("the rules are wrong");
    let (first, rest) = shown.split_once('\n').expect("a line");
    assert_eq!(first, format!("/r/top.rules:{place}: error: {message}"), "\n{shown}");
    assert!(rest.ends_with(&format!("  help: {help}\n")), "\n{shown}");
    assert_eq!(shown.matches(" error: ").count(), 1, "\n{shown}");
    if let Err(errors) = load_text(&text.replace("BAD", good)) {
        panic!("{good}: {errors}");
    }
}

#[test]
fn a_profile_has_a_name_and_a_colon() {
    let colon = "the colon stands directly behind the name";
    check_one(("BAD\nx\n", "profile p :", "profile p:"), "1:11", colon, "write `profile p:`");
    check_one(("BAD\n", "profile:", "'profile:'"), "1:1", "a profile has a name", "write `profile NAME:`");
    let name = "a name begins with a letter, and has letters, digits, `_`, `-` and `.`";
    check_one(("BAD\n", "profile 1p:", "profile p1:"), "1:9", "1p is no name for a profile", name);
    check_one(("BAD\n", "profile a/b:", "profile a-b:"), "1:9", "a/b is no name for a profile", name);
    let behind = "keys stand below it, indented; a comment begins with `;`";
    let extra = "nothing may follow `profile p:` on its line";
    check_one(("BAD\n", "profile p: x", "profile p: ; x"), "1:12", extra, behind);
    let long = format!("profile {}:\n", "p".repeat(65));
    let shown = load_text(&long).expect_err("the name is long");
    assert!(shown.contains("a profile's name of more than 64 bytes"), "{shown}");
    assert!(load_text(&long.replacen("pp", "p", 1)).is_ok());
}

#[test]
fn a_profile_that_is_named_exists() {
    let wrong = "there is no profile `wrkspace`";
    let rule = "x\n  cwd = /w\n  confine = BAD\n";
    check_one((rule, "wrkspace", "workspace"), "3:13", wrong, "write `workspace`");
    let defaults = "defaults:\n  cwd = /w\n  confine = BAD\n\nx\n";
    check_one((defaults, "wrkspace", "workspace"), "3:13", wrong, "write `workspace`");
    let own = "profile mine:\n  extends = BAD\n\nx\n  confine = mine\n";
    check_one((own, "sistem", "system"), "2:13", "there is no profile `sistem`", "write `system`");
    check_one(
        ("x\n  confine = BAD\n", "elsewhere", "system"),
        "2:13",
        "there is no profile `elsewhere`",
        "built in are `none`, `system`, `workspace`, `build`, `git`; others are stanzas `profile NAME:`",
    );
}

#[test]
fn a_name_stands_for_one_profile() {
    let help =
        |name: &str| format!("give it another name; to add to that one, write `extends = {name}` below");
    let built_in = "the profile `git` is built in";
    check_one(("profile BAD:\n", "git", "my-git"), "1:9", built_in, &help("git"));
    let twice = "profile p:\nprofile BAD:\n";
    check_one((twice, "p", "q"), "2:9", "the profile `p` stands on line 1 already", &help("p"));
}

#[test]
fn a_profile_that_extends_itself_is_an_error() {
    let help = "leave one of these lines out, or name another profile";
    let alone = "profile a:\n  extends = BAD\n\nx\n  confine = a\n";
    check_one((alone, "a", "system"), "2:13", "`a` extends itself", help);
    let circle = "profile a:\n  extends = b\nprofile b:\n  extends = c\nprofile c:\n  extends = BAD\nx\n  confine = c\n";
    check_one((circle, "a", "none"), "2:13", "`a` extends itself: by `b`, `c`", help);
    // A profile that extends one of a circle adds nothing to say.
    let beside = "profile d:\n  extends = a\nprofile a:\n  extends = BAD\n";
    check_one((beside, "a", "system"), "4:13", "`a` extends itself", help);
}

#[test]
fn keys_stand_in_their_places() {
    check(
        "\
profile p:
  timeout = 3s
  env = HOME
  confine = git
  audit = strict
  accepts = x
  raed = /x
  MemoryMax = 1G
x
  extends = git
defaults:
  extends = git
",
        "\
/r/top.rules:2:3: error: `timeout` is no key of profiles
  |   timeout = 3s
  |   ^^^^^^^
  help: move it to the rules that have this profile
/r/top.rules:3:3: error: `env` is no key of profiles
  |   env = HOME
  |   ^^^
  help: move it to the rules that have this profile
/r/top.rules:4:3: error: `confine` stands in a rule, and this is a profile
  |   confine = git
  |   ^^^^^^^
  help: to add to another profile, write `extends = NAME`
/r/top.rules:5:3: error: `audit` speaks of the whole socket
  |   audit = strict
  |   ^^^^^
  help: move it to `defaults:`
/r/top.rules:6:3: error: `accepts` is no key of profiles
  |   accepts = x
  |   ^^^^^^^
  help: move it to the rules that have this profile
/r/top.rules:7:3: error: `raed` is no key of profiles
  |   raed = /x
  |   ^^^^
  help: write `read`
/r/top.rules:8:3: error: `MemoryMax` is no key of profiles
  |   MemoryMax = 1G
  |   ^^^^^^^^^
  help: move it to the rules that have this profile
/r/top.rules:10:3: error: `extends` speaks of a profile
  |   extends = git
  |   ^^^^^^^
  help: for a rule's, write `confine = NAME`
/r/top.rules:12:3: error: `extends` speaks of a profile
  |   extends = git
  |   ^^^^^^^
  help: for a rule's, write `confine = NAME`
",
    );
    let socket = "`caller_writes` speaks of the whole socket";
    check_one(
        ("defaults:\n  umask = 022\nBAD", "x\n  caller_writes = /w\n", "  caller_writes = /w\n\nx\n"),
        "4:3",
        socket,
        "move it to `defaults:`",
    );
    let twice = "x\n  net = none\nBAD";
    let message = "`net` is set on line 2 already";
    check_one((twice, "  net = any\n", "  tmp = private\n"), "3:3", message, "keep one of the two");
}

#[test]
fn confine_none_has_no_keys_beside_it() {
    let help = "leave `confine = none` out: this key alone confines it too";
    let message = "`net` confines the command, and `confine = none` says that nothing does";
    let rule = "x\n  net = none\n  BAD\n  tmp = private\n";
    check_one((rule, "confine = none", "confine = system"), "2:3", message, help);
    let defaults = "defaults:\n  net = none\n  BAD\n\nx\n";
    check_one((defaults, "confine = none", "confine = system"), "2:3", message, help);
}

#[test]
fn a_place_is_one_path() {
    let read = |bad: &'static str, good: &'static str, message: &str, help: &str| {
        check_one(("x\n  cwd = /w\n  read = BAD /x\n", bad, good), "3:10", message, help);
    };
    let file = |name: &str| format!("leave it out; for a file of this name, write `./{name}`");
    read("none", "./none", "`none` stands alone", &file("none"));
    let any = "leave the key out: a list that nobody sets restricts nothing; for a file of this name, put `./` in front";
    read("any", "./any", "`any` is no place", any);
    read("all", "'all'", "`all` is no place", any);
    let home = "write $HOME; for the text, put `./` in front";
    let tilde = "`~` is text: no shell puts a home in its place";
    read("~/x", "$HOME/x", tilde, home);
    read("-~/x", "./~/x", tilde, home);
    let blanks = "write `/DIR /DIR`; for a path with this sign in it, put the word into quotes";
    read("/usr,/bin", "/usr /bin", "places stand between blanks", blanks);
    read("/usr:/bin", "'/usr:/bin'", "places stand between blanks", blanks);
    let dots = "write the whole path: `/DIR` or `$HOME/DIR`";
    read("../x", "/x", "a place has no `..` in its path", dots);
    read("/a/../x", "/a/..x", "a place has no `..` in its path", dots);
    let missing = "write a path, with a `-` in front if it may be absent: `-/opt`";
    read("-", "-x", "a place is missing here", missing);
    read("''", "' '", "a place is missing here", missing);
    let unset = "only $HOME and $XDG_RUNTIME_DIR expand; for a literal $USER, put it in single quotes";
    read("$USER", "'$USER'", "$USER is not a variable that rules may use", unset);
    let many = |places: u32| (0..places).map(|at| format!(" /{at}")).collect::<String>();
    assert!(load_text(&format!("x\n  read ={}\n", many(256))).is_ok());
    let shown = load_text(&format!("x\n  read ={}\n", many(257))).expect_err("too many");
    assert!(shown.contains("1:1: error: more than 256 places confine this rule"), "{shown}");
}

#[test]
fn a_relative_place_needs_a_cwd() {
    let help = "set `cwd` to the directory in which the command works";
    let dot = |list: &str| format!("`.` in `{list}` is the rule's `cwd`, and that is `/`");
    check_one(("x\n  BAD\n  confine = git\n", "cwd = /", "cwd = /w"), "3:13", &dot("write"), help);
    check_one(("x\n  BAD\n  exec = .\n", "cwd = /", "cwd = /w"), "3:10", &dot("exec"), help);
    let own = "x\n  net = none\n  confine = BAD\n  read = a\n";
    let message = "`a` in `read` starts at the rule's `cwd`, and that is `/`";
    let shown = load_text(&own.replace("BAD", "workspace")).expect_err("no cwd");
    assert!(shown.contains(&format!("4:10: error: {message}")), "{shown}");
    let defaults = "defaults:\n  confine = workspace\n\nBAD\n";
    check_one((defaults, "x", "x\n  cwd = /w"), "4:1", &dot("write"), help);
    let profile = "profile p:\n  hide = a\n\nx\n  BAD\n  confine = p\n";
    let message = "`a` in `hide` starts at the rule's `cwd`, and that is `/`";
    check_one((profile, "umask = 022", "cwd = /w"), "6:13", message, help);
}

#[test]
fn what_is_hidden_is_not_given() {
    let help = "nothing of what is hidden can be used: take one of the two out";
    let rule = "x\n  hide = /a\n  BAD\n";
    check_one((rule, "read = /a", "read = /ab"), "3:10", "`/a` is in `read` and in `hide`", help);
    let below = "`/a/b` is in `write`, and lies in `/a`, which is in `hide`";
    check_one((rule, "write = -/a/b", "write = /b"), "3:11", below, help);
    let socket = "`/a/s` is in `unix`, and lies in `/a`, which is in `hide`";
    check_one((rule, "unix = /a/s", "unix = /s"), "3:10", socket, help);
    check_one(
        ("x\n  exec = /a/b\n  hide = BAD\n", "/a", "/a/b/c"),
        "3:10",
        "`/a/b` is in `exec`, and lies in `/a`, which is in `hide`",
        help,
    );
    // A profile is judged where it stands, once, and also when no rule has it.
    let profile = "profile p:\n  hide = /a\n  read = BAD\nx\n  confine = p\ny\n  confine = p\n";
    check_one((profile, "/a", "/b"), "3:10", "`/a` is in `read` and in `hide`", help);
    check_one(
        ("profile p:\n  hide = /a\n  read = BAD\n", "/a", "/b"),
        "3:10",
        "`/a` is in `read` and in `hide`",
        help,
    );
    let built_in = "x\n  cwd = /w\n  confine = build\n  read = BAD\n";
    let message = "`/home/u/.npmrc` is in `read` and in `hide`";
    check_one((built_in, "$HOME/.npmrc", "$HOME/.npm"), "4:10", message, help);
}

#[test]
fn what_is_protected_is_not_written_and_could_be() {
    let help = "nothing in a protected place can be written: take one of the two out";
    let rule = "x\n  write = /a\n  protect = BAD\n";
    check_one((rule, "/a", "/a/b"), "3:13", "`/a` is in `write` and in `protect`", help);
    let below = "x\n  cwd = /w\n  confine = git\n  write = BAD\n";
    let message = "`.git/hooks/x` is in `write`, and lies in `.git/hooks`, which is in `protect`";
    check_one((below, ".git/hooks/x", ".git/x"), "4:11", message, help);
    let idle = "leave it out: what `write` does not name cannot be written";
    check_one((rule, "/b", "/a/b"), "3:13", "`/b` lies in no place of `write`", idle);
    assert!(load_text("x\n  protect = /b\n").is_ok(), "without `write`, all can be written");
    let none = "x\n  write = none\n  protect = /b\n";
    assert!(load_text(none).expect_err("nothing is written").contains("`/b` lies in no place of `write`"));
}

#[test]
fn private_directories_for_temporary_files_are_not_the_machines() {
    let help = "leave this out: all can be done in the empty one; for the machine's, write `tmp = shared`";
    let rule = "x\n  tmp = BAD\n  write = /var/tmp\n";
    let message = "/var/tmp is in `write`, and `tmp = private` puts an empty one in its place";
    check_one((rule, "private", "shared"), "3:11", message, help);
    let cwd = "x\n  confine = workspace\n  cwd = BAD\n";
    let message = "/tmp is in `exec`, and `tmp = private` puts an empty one in its place";
    let shown = load_text(&cwd.replace("BAD", "/tmp")).expect_err("/tmp is covered");
    assert!(shown.contains(&format!("2:13: error: {message}")), "{shown}");
    assert!(load_text(&cwd.replace("BAD", "/tmp/w")).is_ok());
    let exec = load_text("x\n  tmp = private\n  exec = /tmp\n").expect_err("it is another one");
    assert!(exec.contains("/tmp is in `exec`"), "{exec}");
}

#[test]
fn networks_are_words_or_ports() {
    let net = |bad: &'static str, good: &'static str, column: usize, message: &str, help: &str| {
        check_one(("x\n  net = BAD\n", bad, good), &format!("2:{column}"), message, help);
    };
    let port = "a port is a number from 1 to 65535";
    net("tcp:0", "tcp:1", 13, "`0` is no port", port);
    net("tcp:443,65536", "tcp:443,65535", 17, "`65536` is no port", port);
    net("tcp:443,-1", "tcp:443, 1", 17, "`-1` is no port", port);
    net("tcp:99999999999999999999", "tcp:9999", 13, "`99999999999999999999` is no port", port);
    net("tcp:80-90", "tcp:80,90", 13, "`80-90` is no port", port);
    net(
        "tcp:443,tcp:22",
        "tcp:443,22",
        17,
        "`tcp:22` is no port",
        "`tcp:` stands once, in front: write `22`",
    );
    net("tcp:", "tcp:7", 13, "a port is missing here", "write its number: `tcp:443`");
    net("tcp:443,", "tcp:443", 17, "a port is missing here", "write its number: `tcp:443`");
    net("none,tcp:443", "tcp:443", 9, "`none` stands alone", "leave the others out, or `none`");
    net("tcp:443 any", "any", 17, "`any` stands alone", "leave the others out, or `any`");
    net(
        "tcp:443 tcp:22",
        "tcp:443,  22",
        9,
        "ports stand between commas, and these between blanks",
        "write `tcp:443,22`",
    );
    let words = |text: &str| format!("`{text}` is not `none`, `any` or `tcp:` with ports");
    net("443,22", "tcp:443,22", 9, &words("443,22"), "write `tcp:443,22`");
    net("off", "none", 9, &words("off"), "write `none`");
    net("yes", "any", 9, &words("yes"), "write `any`");
    net("https", "tcp:443", 9, &words("https"), "write `tcp:443`");
    net("tcp", "tcp:1", 9, &words("tcp"), "write its ports, `tcp:443`, or `any`");
    net("udp:53", "any", 9, &words("udp:53"), "only TCP has ports here; for UDP, write `any`");
    let local = "an address cannot be chosen here: write the port, `tcp:8080`, which then is every host's";
    net("localhost", "tcp:8080", 9, &words("localhost"), local);
    net("x", "none", 9, &words("x"), "write `none`, `any`, or `tcp:443,22`");
}

#[test]
fn other_values_are_words_and_numbers() {
    let value = |line: (&str, &str), bad: &str, good: &str, column: usize, message: &str, help: &str| {
        let text = format!("x\n  {} = BAD{}\n", line.0, line.1);
        check_one((&text, bad, good), &format!("2:{column}"), message, help);
    };
    let fits = |text: &str| format!("`{text}` does not fit here");
    let alone = "leave the others out, or `none`";
    value(("unix", ""), "none /s", "/s", 10, "`none` stands alone", alone);
    value(("unix", ""), "/s any", "any", 13, "`any` stands alone", "leave the others out, or `any`");
    let syscalls = "`all` is not one of `default`, `strict`, `any`";
    value(("syscalls", ""), "all", "any", 14, syscalls, "write `any`");
    value(("tmp", ""), "own", "private", 9, "`own` is not one of `private`, `shared`", "write `private`");
    let missing = "`ignore` is not one of `refuse`, `degrade`";
    value(("on_missing", ""), "ignore", "degrade", 16, missing, "write `degrade`");
    let one = "leave this out; a comment begins with `;`";
    value(("tmp", ""), "private shared", "private ; shared", 17, "this key has one word as its value", one);
    let descriptors = "write a number of descriptors, 4 or more, or infinity: `256`";
    value(("nofile", ""), "3", "4", 12, &fits("3"), descriptors);
    value(("nofile", ""), "1K", "1024", 12, &fits("1K"), descriptors);
    value(("nofile", ""), "18446744073709551615", "infinity", 12, &fits("18446744073709551615"), descriptors);
    value(("nofile", ""), "99999999999999999999", "infinity", 12, &fits("99999999999999999999"), descriptors);
    let processes = "write a number of processes, above 0, or infinity: `50`";
    value(("nproc", ""), "0", "1", 11, &fits("0"), processes);
    value(("nproc", ""), "+1", "1", 11, &fits("+1"), processes);
    let size = "write whole bytes with K, M, G or T, or infinity: `512M`";
    value(("fsize", ""), "99999999999T", "1T", 11, &fits("99999999999T"), size);
    value(("fsize", ""), "1.5G", "2G", 11, &fits("1.5G"), size);
    value(("core", ""), "-1", "0", 10, &fits("-1"), size);
    value(("core", ""), "1MB", "1M", 10, &fits("1MB"), size);
    let empty = "for an empty one, write ''; for a `;`, write `\\;`";
    value(("read", ""), "", "none", 9, "`read` has no value", empty);
}

#[test]
fn profiles_have_a_bound() {
    let text: String = (0..256).map(|at| format!("profile p{at}:\n")).collect();
    assert!(load_text(&text).is_ok());
    let shown = load_text(&format!("{text}profile p:\n")).expect_err("too many");
    assert!(shown.contains("257:9: error: more than 256 profiles"), "{shown}");
}

#[test]
fn places_have_no_commas_between_them() {
    let message = "places stand between blanks, without commas";
    check_one(("x\n  hide = BAD /b\n", "-/a,", "-/a"), "2:10", message, "write `-/a`");
}
