//! Innocent work by the published rules: a confined command does what it does unconfined, and says the same,
//! byte for byte.

use std::fs;

use super::builds::{PIP, PYTEST};
use super::policy::{self, Policy};
use super::site::{Site, Tools, needs_confinement};
use super::trees;
use crate::harness::{
    Broker, Reply, apart, needs, needs_mounts, needs_python_module, needs_user_namespaces, sluice_bin,
};

/// Calls in a tree, and what is left of them.
#[derive(Clone, Copy, Debug)]
struct Work {
    tree: &'static str,
    tools: Tools,
    calls: &'static [&'static [&'static str]],
    /// Prints what the calls made; run by the user in the tree.
    shows: &'static str,
}

/// What a call came to.
#[derive(Debug, PartialEq)]
struct Came {
    call: &'static [&'static str],
    reply: Reply,
    stdout: String,
    stderr: String,
}

impl Work {
    /// The calls succeed, and confined ones are not to be told from unconfined ones.
    #[track_caller]
    fn is_done_alike(self) {
        if !needs_confinement() {
            return;
        }
        let site = Site::new();
        self.tools.install(&site);
        let mut broker = site.serve(&policy::rules(Policy::Unconfined));
        let unconfined = self.done(&site, &broker);
        let said = broker.reload(&policy::rules(Policy::Published));
        assert!(said.contains("reloaded"), "{said}");
        let confined = self.done(&site, &broker);
        assert_eq!(unconfined, confined);
    }

    #[track_caller]
    fn done(self, site: &Site, broker: &Broker) -> (Vec<Came>, String) {
        site.sh("cd ..; rm -rf project project.git ../git; mkdir project");
        site.sh(self.tree);
        let came = self.calls.iter().map(|&call| {
            let answer = broker.request(call).run().exited(0);
            let [stdout, stderr] =
                [&answer.stdout, &answer.stderr].map(|bytes| steady(&String::from_utf8_lossy(bytes)));
            Came { call, reply: answer.reply.clone(), stdout, stderr }
        });
        (came.collect(), site.sh(self.shows).stdout())
    }
}

/// The text without the time that something took.
fn steady(text: &str) -> String {
    let is_time =
        |word: &str| word.starts_with(|first: char| first.is_ascii_digit()) && word.trim_end().ends_with('s');
    text.split_inclusive([' ', '\n']).map(|word| if is_time(word) { "TIME " } else { word }).collect()
}

#[test]
fn the_published_rules_have_no_warnings() {
    if !needs_user_namespaces() {
        return;
    }
    if !needs_mounts() || !needs("npm", "npm") || !needs("make", "make") {
        return;
    }
    apart(|| {
        let site = Site::new();
        Tools::Cargo.install(&site);
        site.sh(trees::GIT);
        // The tests' own program may lie where the user has no way.
        fs::copy(sluice_bin(), site.home().join("sluice")).expect("a home takes a program");
        let rules = site.write("confined.rules", policy::PUBLISHED);
        site.sh(&format!("$HOME/sluice check --deny-warnings {}", rules.display()));
    });
}

#[test]
fn commits_come_from_a_tree_to_the_remote_and_back() {
    let work = Work {
        tree: trees::REMOTE,
        tools: Tools::System,
        calls: &[
            &["git", "status"],
            &["git", "diff"],
            &["git", "diff", "--cached"],
            &["git", "log", "--oneline", "--no-decorate", "-n", "20"],
            &["git", "show", "HEAD"],
            &["git", "add", "--all"],
            &["git", "commit", "--quiet", "--message", "second\n\nMore."],
            &trees::TAKE_OVER,
            &["git", "--git-dir=.", "push", "--quiet", "origin", "refs/heads/agent/*:refs/heads/agent/*"],
            &["git", "--git-dir=.", "fetch", "--quiet", "origin"],
            &["git", "fetch", "--quiet", "../project.git", "+refs/remotes/origin/*:refs/remotes/origin/*"],
            &["git", "status"],
        ],
        shows: "git log --format=%T:%s%b origin/agent/main; git --git-dir=$HOME/git/project.git log --format=%T:%s agent/main",
    };
    work.is_done_alike();
}

#[test]
fn make_builds_and_tests() {
    if !needs("make", "make") {
        return;
    }
    let work =
        Work { tree: trees::MAKE, tools: Tools::System, calls: &[&["make", "test"]], shows: "./it; ls" };
    work.is_done_alike();
}

#[test]
fn npm_installs_an_archive_and_runs_its_program() {
    if needs("npm", "npm") {
        let calls: &[&[_]] = &[&["npm", "ci", "--no-audit", "--no-fund"]];
        let work = Work {
            tree: trees::NPM,
            tools: Tools::System,
            calls,
            shows: "cat made.txt; find node_modules | sort",
        };
        work.is_done_alike();
    }
}

#[test]
fn a_python_package_is_installed_and_tested() {
    if !needs("pip", "python3-pip") || !needs_python_module("pytest", "python3-pytest") {
        return;
    }
    let calls: &[&[_]] = &[PIP, PYTEST];
    let work = Work { tree: trees::PYTHON, tools: Tools::System, calls, shows: "cat site/it.py" };
    work.is_done_alike();
}

#[test]
fn a_crate_is_built_and_tested() {
    if !needs_mounts() {
        return;
    }
    let calls: &[&[_]] =
        &[&["cargo", "build", "--quiet", "--offline"], &["cargo", "test", "--quiet", "--offline"]];
    let work =
        Work { tree: trees::CARGO, tools: Tools::Cargo, calls, shows: "cat Cargo.lock; ls target/debug" };
    apart(move || work.is_done_alike());
}
