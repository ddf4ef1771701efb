//! Tests of confinements: how keys, profiles and defaults are merged, and what the built-in profiles have.

use std::fmt::Write as _;
use std::sync::Arc;

use super::super::profiles::{BUILT_IN_NAMES, BUILT_IN_PROFILES};
use super::super::*;
use super::{Texts, load_files, load_text, vars};

fn policy(text: &str) -> Policy {
    load_text(text).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

/// The confinement of the last rule in a few lines: each list in one, and what differs from no confinement.
fn shown(text: &str) -> String {
    let policy = policy(text);
    let rule = policy.rules().last().expect("a rule");
    let Some(confinement) = &rule.settings.confinement else { return "nothing".into() };
    let places = |places: &[ConfinedPath]| -> String {
        places.iter().fold(String::new(), |all, place| {
            let sign = if place.optional { "-" } else { "" };
            format!("{all} {sign}{}", place.path.display())
        })
    };
    let mut text = confinement.profile.to_string();
    let lists = [("read", &confinement.read), ("write", &confinement.write), ("exec", &confinement.exec)];
    for (key, list) in lists {
        list.iter().for_each(|list| write!(text, "; {key}{}", places(list)).expect("text"));
    }
    for (key, list) in [("hide", &confinement.hide), ("protect", &confinement.protect)] {
        Some(list).filter(|list| !list.is_empty()).into_iter().for_each(|list| {
            write!(text, "; {key}{}", places(list)).expect("text");
        });
    }
    match &confinement.net {
        NetAccess::Any => {}
        net @ (NetAccess::None | NetAccess::Tcp(_)) => write!(text, "; net {net:?}").expect("text"),
    }
    match &confinement.unix {
        UnixAccess::Any => {}
        UnixAccess::None => text += "; unix none",
        UnixAccess::Paths(list) => write!(text, "; unix{}", places(list)).expect("text"),
    }
    if confinement.syscalls != SyscallSet::Any {
        write!(text, "; {:?}", confinement.syscalls).expect("text");
    }
    if confinement.tmp == TmpAccess::Private {
        text += "; private";
    }
    if confinement.on_missing == OnMissing::Degrade {
        text += "; degrade";
    }
    confinement.limits.iter().for_each(|limit| write!(text, "; {limit:?}").expect("text"));
    text
}

#[track_caller]
fn check(text: &str, want: &str) {
    assert_eq!(shown(text), want, "{text}");
}

#[test]
fn without_a_key_nothing_confines() {
    check("x\n", "nothing");
    check("x\n  confine = none\n", "nothing");
    check("x\n  on_missing = degrade\n", "nothing");
    check("x\n  nofile = infinity\n", "nothing");
    check("defaults:\n  confine = none\n\nx\n", "nothing");
    check("profile p:\n  net = none\n\nx\n", "nothing");
}

#[test]
fn each_key_confines_alone() {
    check("x\n  net = none\n", "none; net None");
    check("x\n  net = any\n", "none");
    check("x\n  net = tcp:443, 22,443\n", "none; net Tcp([22, 443])");
    check("x\n  unix = none\n", "none; unix none");
    check("x\n  unix = /run/a '/run/b c' -$HOME/s\n", "none; unix /run/a /run/b c -/home/u/s");
    check("x\n  syscalls = strict\n", "none; Strict");
    check("x\n  tmp = private\n", "none; private");
    check("x\n  read = /usr/ -/o//p/./q  ; and no more\n", "none; read /usr -/o/p/q");
    check("x\n  write = none\n", "none; write");
    check("x\n  exec = /usr\n  exec = -/opt\n", "none; exec /usr -/opt");
    check("x\n  hide = $HOME\n", "none; hide /home/u");
    check("x\n  protect = /etc\n", "none; protect /etc");
    let limits = "x\n  nofile = 64\n  core = 0\n  nproc = 9\n  fsize = 2G\n";
    check(limits, "none; (Nofile, 64); (Core, 0); (Nproc, 9); (Fsize, 2147483648)");
}

#[test]
fn relative_places_start_at_the_cwd_of_the_rule() {
    let profile = "profile p:\n  read = . a/b ./none -./-x\n\n";
    check(&format!("{profile}x\n  cwd = /w\n  confine = p\n"), "p; read /w /w/a/b /w/none -/w/-x");
    let defaults = "defaults:\n  cwd = /d\n  confine = p\n\n";
    check(&format!("{defaults}{profile}x\n"), "p; read /d /d/a/b /d/none -/d/-x");
}

#[test]
fn lists_are_added_to_and_others_replaced() {
    let profiles = "\
profile top:
  extends = base
  read    = /b -/c
  net     = tcp:1
  nofile  = 20
  unix    = /s2
profile base:
  read    = /a /c
  net     = none
  syscalls = strict
  nofile  = 10
  nproc   = 5
  unix    = /s1
x
  confine = top
";
    let whole = "read /a /c /b; net Tcp([1]); unix /s1 /s2; Strict; (Nproc, 5); (Nofile, 20)";
    check(profiles, &format!("top; {whole}"));
    let own = "  read = /a /d\n  net = any\n  syscalls = any\n  nofile = infinity\n  unix = none\n";
    let want = "top; read /a /c /b /d; unix none; (Nproc, 5)";
    check(&format!("{profiles}{own}"), want);
    check(&format!("{profiles}  unix = any\n"), &format!("top; {}", whole.replace(" unix /s1 /s2;", "")));
    let sockets = "profile p:\n  unix = none\n\nx\n  confine = p\n  unix = /s\n";
    check(sockets, "p; unix /s");
    // Of two words for one place, the one without a `-` holds.
    check("x\n  read = -/a\n  read = /a\n", "none; read /a");
}

#[test]
fn a_rule_with_a_profile_has_of_defaults_limits_and_what_is_done_where_a_part_is_missing() {
    let defaults = "\
defaults:
  confine    = p
  read       = /d
  net        = any
  on_missing = degrade
  nofile     = 10
profile p:
  read = /p
  net  = none
profile q:
  write  = /q
  nofile = 20
";
    check(&format!("{defaults}x\n"), "p; read /p /d; degrade; (Nofile, 10)");
    check(&format!("{defaults}x\n  net = none\n"), "p; read /p /d; net None; degrade; (Nofile, 10)");
    check(&format!("{defaults}x\n  confine = q\n"), "q; write /q; degrade; (Nofile, 20)");
    check(&format!("{defaults}x\n  confine = p\n"), "p; read /p; net None; degrade; (Nofile, 10)");
    check(&format!("{defaults}x\n  confine = none\n"), "nothing");
}

#[test]
fn variables_of_a_profile_win_over_those_of_defaults_and_a_rules_over_both() {
    let setenv = |text: &str| {
        let policy = policy(text);
        let rule = policy.rules().last().expect("a rule");
        let pairs = rule.settings.setenv.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join(" ")
    };
    let profiles = "profile p:\n  setenv = A=p B=p\nprofile q:\n  extends = p\n  setenv = B=q C=q\n";
    let rule = "x\n  setenv = C=r\n";
    let defaults = "defaults:\n  setenv = A=d D=d\n";
    assert_eq!(setenv(&format!("{profiles}{rule}  confine = q\n")), "A=p B=q C=r");
    assert_eq!(setenv(&format!("{defaults}{profiles}{rule}  confine = q\n")), "D=d A=p B=q C=r");
    // What stands beside `confine` in `defaults:` is nearer to the rules than the profile.
    assert_eq!(setenv(&format!("{defaults}  confine = q\n{profiles}{rule}")), "B=q A=d D=d C=r");
    assert_eq!(
        setenv(&format!("{defaults}  confine = q\n{profiles}{rule}  confine = none\n")),
        "A=d D=d C=r"
    );
}

#[test]
fn equal_confinements_are_one() {
    let text = "\
a
  cwd = /w
  confine = workspace
b
  cwd = /w
  confine = workspace
c
  cwd = /v
  confine = workspace
d
  cwd = /w
  confine = workspace
  net = none
";
    let policy = policy(text);
    let of = |at: usize| policy.rules()[at].settings.confinement.as_ref().expect("confined");
    assert!(Arc::ptr_eq(of(0), of(1)) && Arc::ptr_eq(of(0), of(3)) && !Arc::ptr_eq(of(0), of(2)));
}

#[test]
fn profiles_may_stand_in_any_file_and_in_any_order() {
    let policy = load_files(&[
        ("top.rules", "x\n  confine = p\n\ninclude more.rules\n"),
        ("more.rules", "profile p:\n  net = none\n"),
    ]);
    assert!(policy.expect("good").rules()[0].settings.confinement.is_some());
    // A program may be named like the stanza.
    assert_eq!(
        load_text("profile\n'profile' x:\nprofile a b\nprofile 'a:'\n").expect("good").rules().len(),
        4
    );
}

#[test]
fn the_built_in_profiles_are_good_and_are_these() {
    let heads = BUILT_IN_PROFILES.lines().filter_map(|line| line.strip_prefix("profile "));
    assert!(heads.map(|name| name.trim_end_matches(':')).eq(BUILT_IN_NAMES));
    // The same text in a file, under other names, has no error; relative places have a directory.
    let text = BUILT_IN_NAMES.iter().fold(BUILT_IN_PROFILES.to_owned(), |text, name| {
        text.replace(&format!("profile {name}:"), &format!("profile my-{name}:"))
            .replace(&format!("extends = {name}"), &format!("extends = my-{name}"))
    });
    for name in &BUILT_IN_NAMES[1..] {
        let rule = |profile: &str| format!("\nx\n  cwd = /w\n  confine = {profile}\n");
        let own = shown(&format!("{text}{}", rule(&format!("my-{name}"))));
        assert_eq!(own.strip_prefix("my-"), Some(&*shown(&rule(name))));
    }
}

#[test]
fn the_built_in_profiles_give_what_they_say() {
    let of = |profile: &str| {
        let policy = policy(&format!("x\n  cwd = /w\n  confine = {profile}\n"));
        policy.rules()[0].settings.confinement.clone().expect("confined")
    };
    let has = |list: &Option<Vec<ConfinedPath>>, path: &str| {
        list.iter().flatten().any(|place| place.path.as_os_str() == path)
    };
    for name in ["system", "workspace", "build", "git"] {
        let all = of(name);
        assert_eq!((&*all.profile, &all.net, &all.unix), (name, &NetAccess::None, &UnixAccess::None));
        assert_eq!((all.syscalls, all.on_missing), (SyscallSet::Default, OnMissing::Refuse), "{name}");
        assert!(has(&all.exec, "/usr") && has(&all.read, "/proc") && has(&all.write, "/dev/null"), "{name}");
        for path in ["/dev/tty", "/", "/home/u", "/run", "/dev", "/tmp"] {
            let lists = [&all.read, &all.write];
            assert!(!lists.iter().any(|list| has(list, path)), "{name} has {path}");
        }
        assert_eq!(all.tmp == TmpAccess::Private, name != "system");
        assert_eq!(has(&all.write, "/w") && has(&all.read, "/w"), name != "system", "{name}");
        assert_eq!(has(&all.exec, "/w"), name == "workspace" || name == "build", "{name}");
    }
    let build = of("build");
    assert!(has(&build.write, "/home/u/.cargo/registry") && has(&build.exec, "/home/u/.cargo/bin"));
    let written: Vec<_> = build.write.iter().flatten().map(|place| place.path.clone()).collect();
    for place in build.exec.iter().flatten().filter(|place| place.path.starts_with("/home/u")) {
        assert!(!written.iter().any(|path| place.path.starts_with(path)), "{place:?} can be run and written");
    }
    assert!(of("git").protect.iter().any(|place| place.path.ends_with(".git/hooks")));
}

#[test]
fn a_variable_that_is_not_set_leaves_places_of_built_in_profiles_out() {
    let text = "x\n  cwd = /w\n  confine = build\n";
    let load = |home: Option<&str>| {
        let vars = VariableValues { home: home.map(Into::into), ..vars() };
        let files = Texts::new(&[("a", text)]);
        let policy = load(std::path::Path::new("/r/a"), &files, &vars).expect("good");
        policy.rules()[0].settings.confinement.clone().expect("confined")
    };
    let (with, without) = (load(Some("/home/u")), load(None));
    assert_eq!(load(Some("no/path")), without);
    assert!(with.hide.len() > 3 && without.hide.is_empty());
    assert!(without.write.iter().flatten().any(|place| place.path.as_os_str() == "/w"));
    assert!(load_text("x\n  hide = $XDG_RUNTIME_DIR\n").is_err(), "a file's own place is an error");
}

#[test]
fn the_hash_covers_the_variables_of_a_built_in_profile_that_is_used() {
    let hash = |profile: &str, home: &str| {
        let vars = VariableValues { home: Some(home.into()), ..vars() };
        let text = format!("x\n  cwd = /w\n  confine = {profile}\n");
        let files = Texts::new(&[("a", &*text)]);
        load(std::path::Path::new("/r/a"), &files, &vars).expect("good").hash().to_owned()
    };
    assert_ne!(hash("build", "/a"), hash("build", "/b"));
    assert_eq!(hash("workspace", "/a"), hash("workspace", "/b"));
}
