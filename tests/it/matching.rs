//! Which request runs: exactly what a rule says, and none of its neighbours.

use crate::harness::{Broker, Status};

const E: &str = "/bin/echo";

/// Rules whose near misses are tried.
const RULES: &str = r"
/bin/echo #word
  word = ^[A-Za-z0-9._/+@:=-]{0,4000}$

true

/bin/cat -

/bin/echo -m #msg
  msg = ^[\x20-\x7e]{1,200}$

/bin/echo add #path
  path = ^[a-zA-Z0-9._/-]+$

/bin/echo branch #b
  b = main|develop

/bin/echo opt #o
  o = ^-[rn]$
  allow_dash = o

/bin/echo any #t
  allow_any = t
";

#[test]
fn near_misses_are_refused_each_with_a_record() {
    let broker = Broker::new(RULES).start();
    let bad: Vec<&[&str]> = vec![
        &[E, "-n"],
        &[E, "--"],
        &[E, "-"],
        &[E],
        &[E, "a", "b"],
        &[E, "a b"],
        &[E, "a\nb"],
        &[E, "a\n"],
        &[E, "\na"],
        &[E, "a\r"],
        &[E, "a\u{2028}b"],
        &[E, "a\u{85}"],
        &["echo", "a"],
        &["/bin//echo", "a"],
        &["/bin/./echo", "a"],
        &["/usr/../bin/echo", "a"],
        &["./bin/echo", "a"],
        &["/bin/echo/", "a"],
        &["/BIN/ECHO", "a"],
        &["", "a"],
        &["/bin/echo ", "a"],
        &[" /bin/echo", "a"],
        &["/usr/bin/echo", "a"],
        &["/bin/true"],
        &["./true"],
        &["true", ""],
        &["true "],
        &["TRUE"],
        &[""],
        &["", ""],
        &[E, "-m", "caf\u{e9}"],
        &[E, "-m", ""],
        &[E, "-m", "a\nb"],
        &[E, "-m", "-rf"],
        &[E, "branch", "mainX"],
        &[E, "branch", "Xdevelop"],
        &[E, "branch", "Xmain"],
        &[E, "branch", "main|develop"],
        &[E, "branch", "main\n"],
        &[E, "branch", "maindevelop"],
        &[E, "opt", "-x"],
        &[E, "opt", "-rn"],
        &[E, "opt", "--"],
        &[E, "#word"],
        &[E, "<word>"],
        &["/bin/cat", "-", "-"],
        &["/bin/cat"],
        &["/bin/cat", "--"],
        &[E, "add", "a;b"],
        &[E, "add", "--output=/tmp/x"],
        &[E, "add", "-"],
        &[E, "add", "\u{ff41}"],
        &[E, "-m", "x", "y"],
        &[E, "m", "x"],
        &[E, "a", ""],
        &["/bin/ech", "a"],
        &["/bin/echoo", "a"],
    ];
    for words in &bad {
        broker.request(words).run().refused(Status::NO_RULE).printed("").audited(["reject status=-1"]);
    }
    broker.call([E, "any", &"x".repeat(4097)]).refused(Status::NO_RULE);
    broker.call([E, "-m", &"x".repeat(201)]).refused(Status::NO_RULE);
}

#[test]
fn what_the_rules_say_runs() {
    let broker = Broker::new(RULES).start();
    let good: [&[&str]; 8] = [
        &[E, "a"],
        &[E, ""],
        &["true"],
        &[E, "branch", "main"],
        &[E, "branch", "develop"],
        &[E, "opt", "-r"],
        &[E, "any", ""],
        &[E, "-m", "fix: it's; $(x) `y` \\n"],
    ];
    for words in good {
        broker.request(words).run().exited(0).audited(["start", "exit status=0"]);
    }
    broker.call([E, "any", &"x".repeat(4096)]).exited(0);
    broker.call([E, "any", "-anything"]).exited(0);
}

#[test]
fn words_reach_the_command_byte_for_byte() {
    let broker = Broker::new("/usr/bin/printf '%s|' #words...\n  allow_any = words\n").start();
    broker
        .call(["/usr/bin/printf", "%s|", "a b", "$HOME", "*", "", "\u{1f600}", "a\nb", "'\""])
        .exited(0)
        .printed("a b|$HOME|*||\u{1f600}|a\nb|'\"|");
}

#[test]
fn the_largest_call_reaches_the_command_whole() {
    let broker = Broker::new("/usr/bin/printf %s #words...\n  allow_any = words\n").start();
    let word = |n: usize| char::from(b'a' + u8::try_from(n % 26).expect("a letter")).to_string().repeat(4096);
    let words: Vec<_> =
        ["/usr/bin/printf".to_owned(), "%s".to_owned()].into_iter().chain((0..40).map(word)).collect();
    let answer = broker.request(&words).run().exited(0);
    assert!(answer.stdout == words[2..].concat().into_bytes(), "{} bytes", answer.stdout.len());
}

#[test]
fn a_value_starting_with_dash_is_refused() {
    let broker = Broker::new("/bin/echo #word\n  word = .*\n\n/bin/cat #words...\n  words = .*\n").start();
    broker.call([E, "-n"]).refused(Status::NO_RULE).audited(["reject reason=option_like"]);
    broker.call(["/bin/cat", "a", "--help"]).refused(Status::NO_RULE).audited(["reject reason=option_like"]);
}

#[test]
fn the_first_match_in_file_order_wins() {
    let broker = Broker::new(
        "
        /bin/echo #word
          word = [a-c]+
          cwd = /usr

        /bin/echo a

        /bin/echo #word
          word = [a-z]+
          cwd = /bin
        ",
    );
    let broker = broker.start();
    broker.call([E, "a"]).exited(0).audited(["start rule=4", "exit"]);
    broker.call([E, "d"]).exited(0).audited(["start rule=10", "exit"]);
}

#[test]
fn a_rest_slot_takes_one_to_sixty_four_values() {
    let broker = Broker::new("/bin/echo #words...\n  words = [a-z]+\n").start();
    broker.call([E]).refused(Status::NO_RULE);
    broker.call([E, "a"]).exited(0).printed("a\n");
    broker.call([E, "a", "b", "c"]).exited(0).printed("a b c\n");
    broker.call([E, "a", "B", "c"]).refused(Status::NO_RULE);
    broker.call([E, "a", "-n"]).refused(Status::NO_RULE);
    let many = |count| [vec![E], vec!["x"; count]].concat();
    broker.request(&many(64)).run().exited(0);
    broker.request(&many(65)).run().refused(Status::NO_RULE);
}

#[test]
fn a_path_slot_takes_what_lies_under_its_directory() {
    let setup =
        Broker::new("/bin/echo #path\n  path = in @DIR@/work\n  cwd = @DIR@/work\n").arranged(|dir| {
            dir.mkdir("work", 0o700);
            dir.mkdir("work/sub", 0o700);
            dir.mkdir("workshop", 0o700);
            let link = |to: &str, name: &str| {
                std::os::unix::fs::symlink(to, dir.join(name)).expect("an own directory takes a link");
            };
            link("/etc", "work/out");
            link("sub", "work/in");
            link("loop", "work/loop");
            link("/nonexistent/x", "work/dangling");
        });
    let broker = setup.start();
    let dir = broker.dir().to_string_lossy().into_owned();
    for inside in ["new", "sub", "sub/new", "in/new", "./sub/../new", &format!("{dir}/work/new")] {
        broker.call([E, inside]).exited(0);
    }
    let outside = [
        "..",
        "../x",
        "sub/../../x",
        "out/passwd",
        "out",
        "/etc/passwd",
        "gone/new",
        "loop",
        "dangling",
        &format!("{dir}/workshop/x"),
        &format!("{dir}/workx"),
        "in/../../audit",
    ];
    for path in outside {
        broker.call([E, path]).refused(Status::NO_RULE).audited(["reject reason=outside"]);
    }
    broker.call([E, "-x"]).refused(Status::NO_RULE).audited(["reject reason=option_like"]);
}

#[test]
fn no_regex_matches_a_part() {
    let broker = Broker::new("/bin/echo #v\n  v = a|b|^c$|(d|e)f?\n").start();
    for good in ["a", "b", "c", "d", "ef"] {
        broker.call([E, good]).exited(0);
    }
    for bad in ["ax", "xb", "xc", "cx", "a\n", "ab", "df f", "a|b", "fd", ""] {
        broker.call([E, bad]).refused(Status::NO_RULE);
    }
}

#[test]
fn the_listing_shows_what_may_be_asked_and_no_attribute() {
    let broker = Broker::new(
        "
        defaults:
          timeout = 77s
          setenv  = TOKEN=s3cret

        ; Says a word.
        ; Twice.
        /bin/echo twice #word #2
          word = [a-z]+
          2    = -?[0-9]
          allow_dash = 2
          cwd  = /usr

        ; Far from the rule.

        /bin/sh -c 'date; uptime' #any #path
          allow_any = any
          path = in /usr/share
        ",
    );
    let want = "/bin/echo twice <word> <2>\n  Says a word.\n  Twice.\n  <word> matches [a-z]+, at most 4096 bytes\n  \
        <2> matches -?[0-9], and may start with -\n\n/bin/sh -c 'date; uptime' <any> <path>\n  \
        <any> is any value, at most 4096 bytes\n  <path> is a path in /usr/share, at most 4096 bytes\n";
    assert_eq!(broker.start().listing(), want);
}

#[test]
fn a_listing_that_does_not_fit_is_said() {
    let rules: String = (0..3000).map(|n| format!("/bin/echo {n} {}\n", "x".repeat(20))).collect();
    let broker = Broker::new(&rules).start();
    let null = std::fs::File::open("/dev/null").expect("there is /dev/null");
    let fd = std::os::fd::AsFd::as_fd(&null);
    let list = crate::harness::header(crate::harness::MAGIC, crate::harness::VERSION, 0);
    broker.raw(&list, &[fd; 3]).refused(Status(-9)).audited(["reject reason=listing_too_large status=-9"]);
    broker.call([E, "2999", &"x".repeat(20)]).exited(0);
}
