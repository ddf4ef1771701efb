//! A push to a remote over the network, with a token that belongs to the two rules that reach the remote, as
//! `examples/confined.rules` says how.

use std::fs;
use std::process::Child;

use super::policy::{self, Policy};
use super::site::{Site, needs_confinement};
use super::trees;
use crate::harness::{SOON, within};

const TOKEN: &str = "s3cret-of-the-remote";

/// The helper that the comment in the rules names.
const HELPER: &str = "'!f() { echo username=git; echo password=$GIT_TOKEN; }; f'";

/// A remote with the repositories of a directory, and its port.
fn remote(site: &Site) -> (Child, String) {
    let [repositories, port] = ["git", "port"].map(|name| site.home().join(name));
    let [root, file] = [&repositories, &port].map(|path| path.to_string_lossy());
    let words = ["/usr/bin/python3", "-c", include_str!("remote.py"), &root, TOKEN, &file];
    let child = site.command(&words).spawn().expect("python3 is there");
    let port = within(SOON, "the remote listens", || fs::read_to_string(&port).ok());
    (child, port)
}

/// The published rules, with the port of this remote in the place of HTTPS's, and the token on the rules that
/// reach it.
fn rules(port: &str) -> String {
    let rules = policy::rules(Policy::Published).replace("tcp:443,53", &format!("tcp:{port}"));
    let with_token = "  confine = remote\n  credential = forge as GIT_TOKEN\n";
    assert!(rules.contains("  confine = remote\n"), "no rule has it");
    rules.replace("  confine = remote\n", with_token)
}

#[test]
fn commits_are_pushed_over_the_network_with_a_token() {
    if !needs_confinement() {
        return;
    }
    let site = Site::new();
    site.sh(trees::REMOTE);
    let (mut child, port) = remote(&site);
    site.sh(&format!(
        "cd ../project.git; git config remote.origin.url http://127.0.0.1:{port}/project.git
         git config credential.helper {HELPER}
         mkdir -p $HOME/.config/sluice; mkdir -m 700 $HOME/.config/sluice/credentials
         umask 077; echo {TOKEN} >$HOME/.config/sluice/credentials/forge"
    ));
    let broker = site.serve(&rules(&port));
    for call in [
        &["git", "add", "--all"][..],
        &["git", "commit", "--quiet", "--message", "second"],
        &trees::TAKE_OVER,
        &["git", "--git-dir=.", "push", "--quiet", "origin", "refs/heads/agent/*:refs/heads/agent/*"],
        &["git", "--git-dir=.", "fetch", "--quiet", "origin"],
    ] {
        broker.request(call).run().exited(0).printed("").complained("");
    }
    child.kill().expect("a child of ours");
    child.wait().expect("a child of ours");
    let pushed = site.sh("git --git-dir=$HOME/git/project.git log --format=%s agent/main");
    pushed.printed("second\nfirst\n");
    site.sh("git --git-dir=$HOME/agent/project.git log --format=%s origin/agent/main")
        .printed("second\nfirst\n");
}
