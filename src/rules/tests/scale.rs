//! Measures the cost of large inputs. The figures are printed by `cargo test --release -- --ignored
//! --nocapture scale`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::super::*;
use super::{claimed, load_files, load_text};

/// The time that this thread had a processor, whatever else the machine does.
fn own_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("the kernel counts it").into()
}

/// Checks the first line of the errors, and that it came soon.
fn check(text: &str, want: &str) {
    let start = own_time();
    let shown = load_text(text).expect_err("it is too much");
    assert_eq!(shown.lines().next(), Some(want));
    let took = own_time() - start;
    assert!(took < Duration::from_secs(10), "it took {took:?}");
}

#[test]
fn too_much_is_an_error_at_once() {
    check(&"\n".repeat(100_000), "/r/top.rules:80001:1: error: more than 80000 lines");
    check(
        &"echo #n\n  n = (?:x{1000}){1000}{1000}\n".repeat(30_000),
        "/r/top.rules:2:7: error: this regex compiles to more than 1048576 bytes",
    );
    check(&"echo\n".repeat(60_000), "/r/top.rules:50001:1: error: more than 50000 rules, includes counted");
    check(
        &format!("echo {}\n", "x".repeat(70_000)),
        "/r/top.rules:1:1: error: a line of more than 65536 bytes",
    );
    check(&"x\n".repeat(9 << 20), "/r/top.rules:1:1: error: more than 16777216 bytes, includes counted");
    check(
        &format!("x{}\n", " y".repeat(256)),
        "/r/top.rules:1:513: error: more than 256 words, which no request can hold",
    );
}

#[test]
fn many_errors_are_cut_with_a_count() {
    let shown = load_text(&"a/b\n".repeat(50_000)).expect_err("every line is wrong");
    assert_eq!(shown.matches("error: ").count(), 100);
    assert!(shown.contains("/r/top.rules:100:1: error: a program with a `/` in it has to be an absolute path (and 49900 more errors)"));
}

#[test]
fn includes_have_a_bound() {
    let many = "include b\n".repeat(70);
    let shown = load_files(&[("top.rules", &many), ("b", "echo\n")]).expect_err("too many");
    assert!(shown.starts_with("/r/top.rules:65:9: error: more than 64 includes"), "{shown}");
}

#[test]
fn a_long_line_is_shown_in_part() {
    let shown = load_text(&format!("echo {} $X {}\n", "x".repeat(1000), "y".repeat(1000)))
        .expect_err("a bad variable");
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines[0], "/r/top.rules:1:1007: error: $X is not a variable that rules may use");
    assert!(lines[1].starts_with("  | …xxx") && lines[1].ends_with("yyy…"), "{shown}");
    assert_eq!(lines[2].find('^'), lines[1].replace('…', ".").find('$'));
}

fn rules(count: usize, kind: usize) -> String {
    (0..count).fold(String::new(), |mut text, at| {
        let line = match kind {
            0 => format!("; Rule {at}.\ntool sub-{at} --flag #n\n  n = [1-9][0-9]?\n\n"),
            1 => format!("/usr/bin/tool-{at} --flag #n\n  n = [1-9][0-9]?\n\n"),
            2 => format!("tool sub-{at} --flag #n\n  n = item-{at}-[a-z0-9_.-]{{1,20}}\n  timeout = 5s\n\n"),
            _ => format!("tool #n\n  n = {at}-[a-z]+\n\n"),
        };
        text.write_str(&line).expect("a string takes every write");
        text
    })
}

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("it has this line");
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number")
}

#[test]
#[ignore = "prints figures; needs --release to mean anything"]
fn figures() {
    for (kind, name) in ["one program", "many programs", "many regexes", "one shape"].into_iter().enumerate()
    {
        for count in [10, 1_000, 10_000] {
            let (text, before, start) = (rules(count, kind), resident(), Instant::now());
            let policy = load_text(&text).expect("good");
            let (took, memory) = (start.elapsed(), resident().saturating_sub(before));
            let at = count / 2;
            let argv = match kind {
                0 => claimed(&["tool", &format!("sub-{at}"), "--flag", "42"]),
                1 => claimed(&[&format!("/usr/bin/tool-{at}"), "--flag", "42"]),
                2 => claimed(&["tool", &format!("sub-{at}"), "--flag", &format!("item-{at}-abc")]),
                _ => claimed(&["tool", &format!("{at}-abc")]),
            };
            let miss = claimed(&["tool", &format!("sub-{at}"), "--other", "x"]);
            let time = |argv: &[crate::ids::ClaimedWord]| {
                let start = Instant::now();
                (0..2000).for_each(|_| drop(std::hint::black_box(policy.decide(argv, &LexicalPaths))));
                start.elapsed() / 2000
            };
            assert!(policy.decide(&argv, &LexicalPaths).is_ok());
            println!(
                "{name:13} {count:6}: load {took:9.2?}, {memory:6} KiB; match {:?}, miss {:?}",
                time(&argv),
                time(&miss)
            );
        }
    }
}
