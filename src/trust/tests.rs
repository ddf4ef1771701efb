//! Directories, files and programs that others can change at one level, and what is said of each.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn check(make: impl FnOnce(&Path), want: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path();
    fs::create_dir_all(path.join("a/b")).expect("directories");
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("a mode");
    fs::write(path.join("a/b/file"), "x").expect("a file");
    make(path);
    let said = match trusted_file(&path.join("a/b/file")) {
        Ok(_) => "trusted".to_owned(),
        Err(distrust) => distrust.to_string().replace(path.to_str().expect("plain"), ""),
    };
    assert_eq!(said, want);
}

fn mode(path: &Path, bits: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).expect("a mode");
}

#[test]
fn a_file_that_others_cannot_write_is_trusted() {
    check(|_| {}, "trusted");
    check(|path| mode(&path.join("a"), 0o1777), "trusted");
}

#[test]
fn what_others_can_write_is_not_trusted_at_any_level() {
    check(|path| mode(&path.join("a"), 0o777), "/a can be written by others (mode 0777); do: chmod go-w /a");
    check(
        |path| mode(&path.join("a/b"), 0o1777),
        "/a/b can be written by others (mode 1777); it is everybody's: use a directory of your own (mkdir -m 700)",
    );
    check(
        |path| mode(&path.join("a/b/file"), 0o620),
        "/a/b/file can be written by others (mode 0620); do: chmod go-w /a/b/file",
    );
}

fn check_program(make: impl FnOnce(&Path), want: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path();
    fs::create_dir_all(path.join("a/b")).expect("directories");
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("a mode");
    fs::write(path.join("a/b/tool"), "x").expect("a file");
    mode(&path.join("a/b/tool"), 0o755);
    symlink("b/tool", path.join("a/link")).expect("a link");
    symlink(path.join("a/link"), path.join("run")).expect("a link");
    make(path);
    let said = match trusted_program(&path.join("run")) {
        Ok(()) => "trusted".to_owned(),
        Err(distrust) => distrust.to_string().replace(path.to_str().expect("plain"), ""),
    };
    assert_eq!(said, want);
}

#[test]
fn a_program_is_judged_where_its_links_lead() {
    check_program(|_| {}, "trusted");
    check_program(
        |path| mode(&path.join("a/b/tool"), 0o775),
        "/a/b/tool can be written by others (mode 0775); do: chmod go-w /a/b/tool",
    );
    check_program(
        |path| mode(&path.join("a/b"), 0o1777),
        "/a/b can be written by others (mode 1777); it is everybody's: use a directory of your own (mkdir -m 700)",
    );
    check_program(
        |path| mode(&path.join("a"), 0o770),
        "/a can be written by others (mode 0770); do: chmod go-w /a",
    );
    check_program(
        |path| fs::remove_file(path.join("a/b/tool")).expect("it is there"),
        "/a/b/tool: No such file or directory (os error 2)",
    );
    check_program(
        |path| {
            fs::remove_file(path.join("a/b/tool")).expect("it is there");
            symlink("tool", path.join("a/b/tool")).expect("a link");
        },
        "/a/b/tool is a symbolic link; name the file it leads to (realpath /a/b/tool)",
    );
    check_program(
        |path| {
            fs::remove_file(path.join("a/link")).expect("it is there");
            symlink("b", path.join("a/link")).expect("a link");
        },
        "/a/b: Is a directory (os error 21)",
    );
    let program = |path: &str| trusted_program(Path::new(path)).map_err(|distrust| distrust.to_string());
    assert_eq!(program("/bin/sh"), Ok(()));
    assert!(program("/").is_err() && program("/dev/null").is_err() && program("/bin/sh/x").is_err());
}

#[test]
fn a_link_is_not_followed_at_any_level() {
    check(
        |path| {
            fs::rename(path.join("a/b/file"), path.join("real")).expect("renamed");
            symlink(path.join("real"), path.join("a/b/file")).expect("linked");
        },
        "/a/b/file is a symbolic link; name the file it leads to (realpath /a/b/file)",
    );
    assert!(trusted_directory(Path::new("/bin")).expect("root's own link is followed"));
}

#[test]
fn a_rules_file_may_be_named_by_links_of_ones_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path();
    fs::create_dir_all(path.join("dots/sluice")).expect("directories");
    fs::create_dir(path.join("shared")).expect("a directory");
    for made in ["dots", "dots/sluice", "shared"] {
        mode(&path.join(made), 0o755);
    }
    fs::write(path.join("dots/sluice/a"), "x").expect("a file");
    mode(&path.join("dots/sluice/a"), 0o644);
    symlink("../dots/sluice/a", path.join("shared/link")).expect("linked");
    symlink("dots", path.join("data")).expect("linked");
    symlink("data/sluice/a", path.join("link")).expect("linked");
    symlink(path.join("link"), path.join("again")).expect("linked");
    symlink("loop", path.join("loop")).expect("linked");
    for name in ["link", "again", "data/sluice/a", "shared/link"] {
        let read = trusted_rules(&path.join(name));
        assert!(read.is_ok(), "{name}: {read:?}");
        // Links on the way to it may be root's, if the test is.
        assert!(name.contains("data") || trusted_file(&path.join(name)).is_err(), "{name}");
    }
    assert!(trusted_rules(&path.join("loop")).is_err());
    mode(&path.join("shared"), 0o777);
    assert!(trusted_rules(&path.join("shared/link")).is_err());
    mode(&path.join("dots/sluice"), 0o777);
    assert!(trusted_rules(&path.join("link")).is_err());
}
