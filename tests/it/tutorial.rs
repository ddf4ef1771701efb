//! README.md's tutorial, word by word: its blocks are typed in order, in a fresh home, and print what the
//! page shows below them. A broker that the test starts stands in for systemd's; `tests/fresh` and a person
//! have the rest.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{
    Process, SOON, TempDir, chmod, needs, needs_bubblewrap, serve_words, sluice_bin, sluicify_bin,
};

/// One fenced block: its fence's words, its text, and the line that it begins on.
#[derive(Debug)]
struct Block {
    fence: String,
    text: String,
    line: usize,
}

/// The blocks of a page.
fn blocks(page: &str) -> Vec<Block> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let page = fs::read_to_string(page).expect("there is such a page");
    let mut found: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (number, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), found.last_mut()) {
            (Some(fence), _) if !is_open => {
                found.push(Block { fence: fence.into(), text: String::new(), line: number + 1 });
                is_open = true;
            }
            (Some(_), _) => is_open = false,
            (None, Some(block)) if is_open => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

/// What is the same from run to run: numbers become `0`, a commit's hash `#`, the reader's home and name the
/// page's.
fn steady(text: &str, home: &str) -> Vec<String> {
    // The journal is not readable everywhere.
    let text = text.replace(home, "/home/you").replace(" records, 6 of them in the journal", " records");
    let word = |word: &str| -> String {
        let is_hash = word.len() == 7 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hash {
            return "#".into();
        }
        let who = word.rsplit_once('[').filter(|(_, rest)| rest.ends_with(']') && !rest.contains('-'));
        let word = if who.is_some_and(|(_, pid)| pid.trim_end_matches(']').parse::<u32>().is_ok()) {
            "who"
        } else {
            word
        };
        let mut shown = String::new();
        for ch in word.chars() {
            match ch {
                '0'..='9' if shown.ends_with('0') => {}
                '0'..='9' => shown.push('0'),
                _ => shown.push(ch),
            }
        }
        shown
    };
    // Notes are of what a machine lacks.
    let lines = text.lines().filter(|line| !line.starts_with("note: "));
    lines.map(|line| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")).collect()
}

/// Types a block in bash, with these lines on its stdin, and gives all that it printed.
#[track_caller]
fn typed(home: &Path, script: &str, stdin: &str) -> String {
    let given = home.join("typed");
    fs::write(&given, stdin).expect("an own file");
    let mut command = Command::new("timeout");
    command.args(["60", "bash", "-uc", &format!("umask 002; exec 2>&1; {script}")]).env_clear();
    command.env("HOME", home).env("XDG_RUNTIME_DIR", home.join("run"));
    command.env("PATH", format!("{}/.local/bin:/usr/bin:/bin", home.display()));
    command.stdin(fs::File::open(&given).expect("it was written"));
    let output = command.output().expect("bash is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The broker of the page's step with systemd.
fn serve(home: &Path) -> Process {
    let run = home.join("run");
    let mut command = Command::new(sluice_bin());
    command.args(serve_words()).arg("--rules").arg(home.join(".config/sluice/agent.rules"));
    command.arg("--socket").arg(run.join("sluice/agent/sock"));
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").env("XDG_RUNTIME_DIR", &run);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let process = Process::new(command.spawn().expect("the broker can be started"));
    assert!(process.stderr.line_with("sluice: ready", 0, SOON).is_some(), "{}", process.stderr.text());
    process
}

/// Whether bubblewrap works here as the page uses it.
fn has_sandbox() -> bool {
    let options = ["--unshare-all", "--proc", "/proc", "--dev", "/dev", "--ro-bind", "/", "/"];
    needs("git", "git") && needs_bubblewrap(&options)
}

#[test]
fn the_tutorial_prints_what_it_shows() {
    let dir = TempDir::new();
    let home = dir.path();
    if !has_sandbox() {
        return;
    }
    dir.mkdir("run", 0o700);
    dir.mkdir(".local", 0o700);
    dir.mkdir(".local/bin", 0o700);
    for (program, name) in [(sluice_bin(), "sluice"), (sluicify_bin(), "sluicify")] {
        std::os::unix::fs::symlink(program, home.join(".local/bin").join(name)).expect("a link");
    }
    // A link would lead nowhere inside the sandbox.
    fs::remove_file(home.join(".local/bin/sluicify")).expect("the link");
    typed(home, &format!("cp {} ~/.local/bin/sluicify", sluicify_bin().display()), "");
    let blocks = blocks("README.md");
    let mut broker = None;
    let (mut shown, mut compared) = (String::new(), 0);
    for (at, block) in blocks.iter().enumerate() {
        match block.fence.as_str() {
            "rules" => {
                let rules = home.join(".config/sluice/agent.rules");
                fs::write(&rules, &block.text).expect("the directory is made");
                chmod(&rules, 0o644);
                broker = Some(serve(home));
            }
            "sh tutorial" => {
                let inside = blocks.get(at + 1).filter(|next| next.fence == "sh sandbox");
                shown = typed(home, &block.text, inside.map_or("", |inside| inside.text.as_str()));
            }
            "text output" => {
                let (got, want) = (steady(&shown, &home.to_string_lossy()), steady(&block.text, "/home/you"));
                assert_eq!(got, want, "README.md:{}: printed\n{shown}", block.line);
                compared += 1;
            }
            _ => {}
        }
    }
    assert!(compared >= 3, "the tutorial shows nothing");
    let mut broker = broker.expect("the tutorial has rules");
    commits_are_handed_over_again_and_again(home, &blocks, &broker);
    the_example_of_a_sandbox_says_what_it_lacks(home, || {
        typed(home, &format!("kill {}", broker.child.id()), "");
        assert_eq!(broker.exit_code(), Some(0));
    });
}

/// With the page's own lines, and with REFERENCE.md's wrappers after commits of the reviewer's.
fn commits_are_handed_over_again_and_again(home: &Path, blocks: &[Block], broker: &Process) {
    let (sandbox, inside) = blocks
        .iter()
        .zip(blocks.iter().skip(1))
        .find(|(_, inside)| inside.fence == "sh sandbox")
        .expect("the page starts a sandbox");
    let typed_inside = |lines: &str| typed(home, &sandbox.text, lines);
    let arrived = || typed(home, "git -C ~/review log --format=%s; ls ~/review/.git | grep rebase-apply", "");
    let lines = inside.text.lines().skip_while(|line| !line.starts_with("git format-patch"));
    let hand_over: Vec<_> = lines.take_while(|line| !line.starts_with("sluicify")).collect();
    assert!(hand_over.len() == 3, "{hand_over:?}");
    let again = "seq 4 >greeting; git commit -qam 'count'\n".to_owned() + &hand_over.join("\n");
    let said = typed_inside(&again);
    assert_eq!((said.as_str(), arrived().as_str()), ("", "count\ngreet the world\nbegin\n"));

    for block in self::blocks("REFERENCE.md") {
        match block.fence.as_str() {
            "rules more" => {
                let rules = home.join(".config/sluice/agent.rules");
                let more = fs::read_to_string(&rules).expect("it was written") + "\n" + &block.text;
                fs::write(&rules, more).expect("an own file");
                typed(home, &format!("kill -HUP {}", broker.child.id()), "");
                let reloaded = broker.stderr.line_with("reloaded", 0, SOON);
                assert!(reloaded.is_some_and(|line| line.ends_with("4 rules")), "{}", broker.stderr.text());
            }
            "sh wrappers" => assert_eq!(typed(home, &block.text, ""), ""),
            _ => {}
        }
    }
    typed(home, "cd ~/review; sed -i 's/1/one/' greeting; git commit -qam 'one'", "");
    let said = typed_inside("sed -i 's/4/four/' greeting; git commit -qam 'four'; bin/hand-over");
    assert!(said.contains("hand-over: nothing was taken"), "{said}");
    assert_eq!(arrived(), "one\ncount\ngreet the world\nbegin\n", "{said}");
    let said = typed_inside("bin/take-over && bin/hand-over && bin/hand-over && git log --format=%s");
    let all = "four\none\ncount\ngreet the world\nbegin\n";
    assert_eq!((said.as_str(), arrived().as_str()), (all, all));
}

fn the_example_of_a_sandbox_says_what_it_lacks(home: &Path, stop: impl FnOnce()) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sandbox");
    let example = |rest: &str| typed(home, &format!("{} agent {rest}", example.display()), "");
    let listing = example("~/work sluicify --list /gate/sock");
    assert!(listing.contains("Hand commits back"), "{listing}");
    let missing = example("~/nowork bash");
    assert_eq!(missing, format!("sandbox: there is no directory {}/nowork to work in\n", home.display()));
    stop();
    let stopped = example("~/work bash");
    assert!(stopped.starts_with("sandbox: no socket ") && stopped.lines().count() == 1, "{stopped}");
}
