//! A directory with links of every kind, and the places that the paths in it lead to.

use std::os::unix::fs::symlink;

use super::*;

/// A directory with `in/`, which is the slot's, and with other files and links.
fn arranged() -> tempfile::TempDir {
    let own = tempfile::tempdir().expect("a directory");
    let top = own.path();
    fs::create_dir_all(top.join("in/sub/deep")).expect("directories");
    for file in ["in/file", "in/sub/file", "in/a\nb", "outside"] {
        fs::write(top.join(file), "").expect("a file");
    }
    let absolute = |name: &str| top.join(name).to_string_lossy().into_owned();
    let links = [
        (absolute("outside"), "in/out"),
        (absolute("nowhere"), "in/dangling"),
        ("missing".into(), "in/missing-link"),
        ("/".into(), "in/up"),
        ("sub".into(), "in/to-sub"),
        ("sub/file".into(), "in/to-file"),
        (absolute("in/sub/deep"), "in/absolute"),
        ("loop".into(), "in/loop"),
        ("/proc/self/cwd".into(), "in/proc"),
        ("in".into(), "alias"),
        (absolute("alias/sub"), "second"),
        ("outside".into(), "elsewhere"),
    ];
    for (target, name) in links {
        symlink(target, top.join(name)).expect("a link");
    }
    own
}

/// Locates `value`, in which `@` stands for `top`. `top`'s own path without links is cut off the path that is
/// found, before it is compared with `want`.
fn check_in(top: &Path, dir: &str, value: &str, want: Option<&str>) {
    let (real, value) =
        (fs::canonicalize(top).expect("it is there"), value.replace('@', &top.to_string_lossy()));
    let located = locate(&top.join("in"), &value, &top.join(dir));
    let path = located.map(|located| located.path.replace(&*real.to_string_lossy(), ""));
    assert_eq!(path.as_deref(), want, "{value} in {dir}");
}

#[test]
fn a_path_is_where_its_links_lead() {
    let own = arranged();
    for (value, want) in [
        ("file", "/in/file"),
        ("~", "/in/~"),
        ("new", "/in/new"),
        ("sub/new", "/in/sub/new"),
        ("sub/../file", "/in/file"),
        (".", "/in"),
        ("./sub", "/in/sub"),
        ("sub/", "/in/sub/"),
        ("sub//./", "/in/sub/"),
        ("a\nb", "/in/a\nb"),
        ("@/in//file", "/in/file"),
        ("@/in", "/in"),
        ("to-sub/file", "/in/sub/file"),
        ("to-sub/..", "/in"),
        ("to-sub/new", "/in/sub/new"),
        ("to-file", "/in/sub/file"),
        ("absolute", "/in/sub/deep"),
        ("absolute/../file", "/in/sub/file"),
        ("../in/file", "/in/file"),
        ("@/alias/file", "/in/file"),
        ("@/second/file", "/in/sub/file"),
        ("@/second", "/in/sub"),
        ("@/in/../in/sub/../../in/file", "/in/file"),
    ] {
        check_in(own.path(), "in", value, Some(want));
        check_in(own.path(), "alias", value, Some(want));
    }
}

#[test]
fn what_leads_out_or_nowhere_is_no_place() {
    let own = arranged();
    for value in [
        "",
        "out",
        "dangling",
        "dangling/",
        "dangling/.",
        "missing-link",
        "missing-link/",
        "up/etc/passwd",
        "..",
        "../outside",
        "sub/../..",
        "no/new",
        "/etc/passwd",
        "new/..",
        "new/",
        "new/.",
        "file/",
        "file/.",
        "file/..",
        "file/../file",
        "loop",
        "loop/x",
        "proc",
        "proc/x",
        "@/elsewhere",
        "@/outside/../in/no/x",
        "/proc/self/cwd",
        "/proc/self/root@/in/file",
        "/dev/fd/0",
        "/dev/stdin",
        "to-file/new",
        "/",
    ] {
        check_in(own.path(), "in", value, None);
    }
    check_in(own.path(), "file", "file", None);
    check_in(own.path(), "nowhere", "file", None);
}

#[test]
fn nothing_outside_is_looked_at_where_names_lead_back_in() {
    let own = arranged();
    for value in ["@/outside/../in/file", "@/no/such/../../in/file", "../../../../../../../..@/in/file"] {
        check_in(own.path(), "in", value, Some("/in/file"));
    }
}

#[test]
fn links_names_and_bytes_have_their_limits() {
    let own = arranged();
    let top = own.path();
    for number in 0..=LINKS_MAX {
        let target = if number == 0 { "file".into() } else { format!("l{}", number - 1) };
        symlink(target, top.join(format!("in/l{number}"))).expect("a link");
    }
    check_in(top, "in", &format!("l{}", LINKS_MAX - 1), Some("/in/file"));
    check_in(top, "in", &format!("l{LINKS_MAX}"), None);
    check_in(top, "in", &"sub/../".repeat(450), Some("/in/"));
    check_in(top, "in", &"sub/../".repeat(PATH_NAMES_MAX / 2), None);
    check_in(top, "in", &"x".repeat(256), None);
}

#[test]
fn the_directory_may_be_everything() {
    let own = arranged();
    for (value, want) in [("/", "/"), ("../../../../../../../..", "/"), ("/etc/..", "/"), ("/etc", "/etc")] {
        let located = locate(own.path(), value, Path::new("/"));
        assert_eq!(located.map(|located| located.path.into_string()).as_deref(), Some(want));
    }
    assert!(locate(own.path(), "/proc/self/root/etc", Path::new("/")).is_none());
}
