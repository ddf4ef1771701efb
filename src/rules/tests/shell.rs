//! Compares rule lines with bash: a line gives both the same words, and bash reads a printed command as the
//! same words.

use std::process::Command;

use proptest::prelude::*;

use crate::rules::ExpectedWord;
use crate::text::{command_line, command_line_ascii};

use super::load_text;

/// The words of a command as bash reads them; `None` where bash finds no command.
fn by_bash(line: &str) -> Option<Vec<String>> {
    let script = format!("printf '%s\\0' {line}");
    let bash = Command::new("bash").args(["--norc", "-c", &script]).env("LC_ALL", "C.UTF-8").output();
    let output = bash.expect("bash is installed");
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.split_terminator('\0').map(str::to_owned).collect())
}

/// The words that a rule with this line expects.
fn by_rules(line: &str) -> Result<Vec<String>, String> {
    let policy = load_text(&format!("x {line}\n"))?;
    let words = policy.rules()[0].words().iter().skip(1).map(|word| match word {
        ExpectedWord::Literal(literal) => literal.to_string(),
        ExpectedWord::Slot(slot) => panic!("{line} has a slot {slot:?}"),
    });
    Ok(words.collect())
}

fn check(line: &str) {
    assert_eq!(by_rules(line).map_err(|_| ()), by_bash(line).ok_or(()), "{line}");
}

/// Command lines as people write them, in scripts and sudoers files.
const LINES: &[&str] = &[
    r#"docker ps --format "table {{.Names}}\t{{.Status}}""#,
    r"printf $'a\tb'",
    r"awk '{ print $1 }' /etc/passwd",
    r#"psql -c "select \"a\" from b where c = '\$1'""#,
    r"find /srv -name \*.log -exec rm {} \;",
    r#"sed -e 's/\(a\)/\1/g' -e "s/\./_/""#,
    r#"grep -E "^(foo|bar)\b" 'it'\''s'"#,
    r#"echo "a\\b" 'a\\b' a\\b"#,
    r#"echo "a`" 2>/dev/null"#,
    r"ssh host 'cd /srv && ls'",
    r#"curl -H "Accept: application/json" https://x.example/y"#,
    r#"curl -d '{"a": "b\n"}' https://x"#,
    r"git log --format=%H%x09%s -n 5",
    r#"git commit -m "$'x'""#,
    r"rsync -a --exclude='*.o' src/ host:dst/",
    r#"tar -C /srv --transform 's,^,x/,' -czf - ."#,
    r"printf '%s\n' a\ b a\	b",
    r"echo $'caf\u00e9' $'caf\xc3\xa9' café",
    r"echo $'\U0001F600' $'\101\102' $'\x41' $'a\'b' $'\\'",
    r"echo $'\a\b\e\E\f\n\r\t\v\?\cA' $'\d\.' $'\xg' $'\u' $'\8'",
    r#"echo "" '' $'' a''b """#,
    r#"echo a"b"'c'\d$'e'"#,
    r#"echo "$" $ "a$" a$ $'$'"#,
    r"echo - -- -n --a=b a:b @x %y +z ,",
    r"echo \# a#b '#1' \~ a~",
    r#"echo "it's" 'say "hi"'"#,
    r#"echo "a;b" 'a;b' a\;b"#,
    r#"echo "$HOME" ${HOME}x '$HOME' \$HOME "\$HOME" $HOME"x" "$"HOME"#,
    r"echo a\
b",
    r#"echo "unclosed"#,
    r"echo 'unclosed",
    r"echo $'unclosed\'",
];

#[test]
fn a_line_has_the_words_that_bash_gives_it() {
    // Lines that a rule refuses on purpose, or that only bash runs.
    let otherwise = ["2>/dev/null", "a\\\nb"];
    let home = |words: Vec<String>| {
        let real = std::env::var("HOME").unwrap_or_default();
        words.iter().map(|word| word.replace(&real, "/home/u")).collect::<Vec<_>>()
    };
    for line in LINES.iter().filter(|line| !otherwise.iter().any(|part| line.contains(part))) {
        if line.contains("HOME") {
            assert_eq!(by_rules(line).ok(), by_bash(line).map(home), "{line}");
        } else {
            check(line);
        }
    }
}

#[test]
fn what_bash_would_translate_cut_or_not_encode_is_refused() {
    for line in [r#"$"a""#, r"$'a\0b'", r"$'\xff'", r"$'\ud800'", r"$'\U110000'", "a;b", "'a';", "${HOME:-x}"]
    {
        assert!(by_rules(line).is_err(), "{line}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_printed_command_is_read_back(words in prop::collection::vec(
        prop_oneof![
            "[^\0]{0,6}",
            prop::collection::vec(prop::sample::select(&PIECES[..]), 0..5).prop_map(|pieces| pieces.concat()),
        ],
        1..6,
    )) {
        // The program is printed by bash's own `printf`, so the words stand behind a function that any name
        // can call.
        for line in [command_line(&words), command_line_ascii(&words)] {
            let (first, rest) = (words[0].clone(), words[1..].to_vec());
            let read = by_bash(&line);
            prop_assert_eq!(read, Some([vec![first], rest].concat()), "{}", line);
            prop_assert!(!line.contains(char::is_control), "{:?}", line);
        }
    }

    #[test]
    fn a_printed_command_is_a_rule_line_of_the_same_words(words in prop::collection::vec("[^\0]{0,6}", 1..6)) {
        for line in [command_line(&words), command_line_ascii(&words)] {
            prop_assert_eq!(by_rules(&line), Ok(words.clone()), "{}", line);
        }
    }
}

/// The characters that quoting most often gets wrong.
const PIECES: [&str; 16] = [
    "'", "\"", "\\", "$", "`", "!", "\n", "\t", "\u{1b}", "\u{85}", "e\u{301}", "\u{a0}", "#", ";", "a", "1",
];

#[test]
fn a_command_begins_with_its_program_in_bash_too() {
    for words in [["A=b", "c"], ["if", "x"], ["!", "x"], ["time", "x"], ["[[", "x"], ["{", "x"], ["~", "x"]] {
        let name = words[0];
        let script = format!(
            "command_not_found_handle() {{ printf '%s\\0' \"$@\"; }}\nPATH=/nonexistent\n{}",
            command_line(words)
        );
        let output =
            Command::new("bash").args(["--norc", "-c", &script]).output().expect("bash is installed");
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{name}\0{}\0", words[1]), "{output:?}");
    }
}
