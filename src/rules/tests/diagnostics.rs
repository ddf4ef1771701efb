//! Every error, shown as a person sees it.

use super::{load_files, load_text};

fn check(text: &str, want: &str) {
    let shown = load_text(text).expect_err("the rules are wrong");
    assert_eq!(shown.trim_end(), want.trim(), "\n{shown}");
}

#[test]
fn zz() {
    for text in [
        "defaults:\n  timout = 3s\n  logfile = x\n  log = ful\n  accepts = x\n  scope = auto\n",
        "echo #n\n",
        "echo #n\n  n = a)|(b\n",
        "echo #n\n  n = 'a\\;[b'\n",
        "echo #n\n  n = x\\;[b\n",
        "echo #n #n\n  n = a\n",
        "echo #timeout #read\n  timeout = 1\n read = x\n",
        "#n x\n  n = a\n",
        "echo #a... #b\n  a = x\n  b = x\n",
        "./x\n''\n'' x\n",
        "echo 'a\necho \"$USER\" $HOMES ${HOME $XDG_RUNTIME_DIR/x\necho \\\n",
        "echo #a #b #c\n  a = x\n  b = in /x\n  allow_any = a, d\n  allow_dash = a, b, c\n",
        "  x = y\nfoo\n  x y\n  = z\n  timeout = \n  timeout = 18446744073709551615h\n  timeout = 5s\n",
        "profile x:\n  read = /\ndefault:\ndefaults: x\ndefaults:\n  env = A\ndefaults:\n  env = B\ntimeout = 5s\ninclude\n",
        "echo #n\n  n = [0-9]+\n  accepts = echo 5\n  accepts = echo x\n  refuses = echo 7 ; no\n  accepts = echo\n",
        "echo #p\n  p = in work\n  stdin = nul\n  env = A,,B\n  setenv = A=1 'B C=2' D\n  umask = 9\n exec_path = /bin::x\n",
        "echo\u{1b}[31m\t#n\n  n = \u{202e}(\n",
        "echo a",
        "echo a\0b\n",
        "echo #a #b\n  a = x\n  a = y\n  #b = c\n  allow_any = b\n  logfile = /x\n",
        "defaults:\n  logfile = /x/#$call/#$foo\n allow_any = x\n",
        "echo #n\n  n = (?:x{1000}){1000}{100}\n",
        "echo #n... x\n  n = 'a' b\n",
    ] {
        println!("=== {text:?}\n{}", load_text(text).map(|p| p.listing()).unwrap_or_else(|e| e));
    }
    println!(
        "{}",
        load_files(&[
            ("top.rules", "include a\ninclude /r/none\n"),
            ("a", "defaults:\n  env = A\ninclude ./top.rules\nfoo\n x\n")
        ])
        .expect_err("bad")
    );
}
