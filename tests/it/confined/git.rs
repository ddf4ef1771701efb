//! Payloads that git runs from a repository which an attacker writes.

use super::attack::Attack;
use super::site::Tools;
use super::trees;

const ADD: &[&str] = &["git", "add", "--all"];
const COMMIT: &[&str] = &["git", "commit", "--quiet", "--message", "second"];
const DIFF: &[&str] = &["git", "diff"];
const FETCH: &[&str] =
    &["git", "fetch", "--quiet", "../project.git", "+refs/remotes/origin/*:refs/remotes/origin/*"];
const LOG: &[&str] = &["git", "log", "--oneline", "--no-decorate", "-n", "20"];
const SHOW: &[&str] = &["git", "show", "HEAD"];
const STATUS: &[&str] = &["git", "status"];

/// A payload that this call runs.
const fn planted(plant: &'static str, call: &'static [&'static str]) -> Attack {
    Attack { tree: trees::GIT, plant, call, tools: Tools::System, terminal: false }
}

/// It reaches all of what is outside where nothing confines it, and nothing in the published profile; nor in
/// `workspace`, where it runs.
#[track_caller]
fn is_held(attack: Attack) {
    attack.is_held();
    attack.runs_and_is_held_by("workspace");
}

#[test]
fn a_monitor_of_the_file_system() {
    is_held(planted("git config core.fsmonitor \"$PAYLOAD; :\"", STATUS));
}

#[test]
fn a_clean_filter() {
    is_held(planted("echo '* filter=x' >.gitattributes; git config filter.x.clean \"$PAYLOAD; cat\"", ADD));
}

#[test]
fn a_process_filter() {
    is_held(planted("echo '* filter=x' >.gitattributes; git config filter.x.process \"$PAYLOAD\"", ADD));
}

#[test]
fn a_hook() {
    is_held(planted(
        "printf '#!/bin/sh\\n%s\\n' \"$PAYLOAD\" >.git/hooks/pre-commit; chmod +x .git/hooks/pre-commit",
        COMMIT,
    ));
}

#[test]
fn a_directory_of_hooks() {
    is_held(planted(
        "mkdir hooks; ln -s ../payload.py hooks/pre-commit; git config core.hooksPath hooks",
        COMMIT,
    ));
}

#[test]
fn a_program_that_signs() {
    is_held(planted("git config gpg.program $PWD/payload.py; git config commit.gpgsign true", COMMIT));
}

#[test]
fn a_command_for_ssh() {
    is_held(planted(
        "git config core.sshCommand \"$PAYLOAD; :\"; git config url.ssh://a.invalid/.insteadOf ../",
        FETCH,
    ));
}

#[test]
fn a_remote_that_is_a_program() {
    is_held(planted(
        "git config protocol.ext.allow always; git config \"url.ext::$PWD/payload.py .insteadOf\" ../",
        FETCH,
    ));
}

#[test]
fn a_program_that_shows_as_text() {
    is_held(planted("echo '* diff=x' >.gitattributes; git config diff.x.textconv \"$PAYLOAD; cat\"", SHOW));
}

#[test]
fn a_pager_on_a_terminal() {
    is_held(Attack { terminal: true, ..planted("git config core.pager \"$PAYLOAD; cat\"", LOG) });
}

#[test]
fn a_program_that_compares() {
    is_held(planted("git config diff.external $PWD/payload.py", DIFF));
}

#[test]
fn a_repository_elsewhere() {
    is_held(planted(
        "git config core.fsmonitor \"$PAYLOAD; :\"; mkdir x; mv .git x/y; echo \"gitdir: x/y\" >.git",
        STATUS,
    ));
}

#[test]
fn a_work_tree_elsewhere() {
    is_held(planted(
        "git config core.fsmonitor \"$PAYLOAD; :\"; mkdir x; git config core.worktree $PWD/x",
        STATUS,
    ));
}

#[test]
fn an_embedded_repository() {
    is_held(planted(
        "git init --quiet x; git -C x config user.name a; git -C x config user.email a
         echo 1 >x/f; git -C x add f; git -C x commit --quiet -m 1; git add x 2>&-
         git -C x config core.fsmonitor \"$PAYLOAD; :\"",
        STATUS,
    ));
}
