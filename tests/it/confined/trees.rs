//! Innocent trees, each made by a script that the user runs in the project.

/// A repository with a commit, a change that is staged, one that is not, and a file that is not known; and a
/// bare one beside the tree.
pub(super) const GIT: &str = "
    git init --quiet --initial-branch=main .
    printf 'payload.py\\ntargets.json\\nreport.txt\\nlink\\n' >.git/info/exclude
    git config user.name Agent; git config user.email agent@example.com
    echo one >a.txt; echo one >b.txt; git add a.txt b.txt; git commit --quiet -m first
    echo two >a.txt; git add a.txt; echo two >b.txt; echo new >c.txt
    mkdir $HOME/agent/project.git; git init --quiet --bare --initial-branch=main $HOME/agent/project.git
    git push --quiet $HOME/agent/project.git main
    git --git-dir=$HOME/agent/project.git update-ref refs/remotes/origin/main main
";

/// The same with a remote of the bare one.
pub(super) const REMOTE: &str = "
    git init --quiet --initial-branch=main .
    git config user.name Agent; git config user.email agent@example.com
    echo one >a.txt; echo one >b.txt; git add a.txt b.txt; git commit --quiet -m first
    mkdir -p $HOME/git; git clone --quiet --bare . $HOME/git/project.git
    git clone --quiet --bare $HOME/git/project.git $HOME/agent/project.git
    git --git-dir=$HOME/agent/project.git config remote.origin.fetch '+refs/heads/*:refs/remotes/origin/*'
    echo two >a.txt; git add a.txt; echo two >b.txt; echo new >c.txt
";

/// The call that takes the tree's branches over.
pub(super) const TAKE_OVER: [&str; 8] = [
    "git",
    "--git-dir=.",
    "-c",
    "transfer.fsckObjects=true",
    "fetch",
    "--quiet",
    "../project",
    "+refs/heads/*:refs/heads/agent/*",
];

/// A makefile that compiles and runs a program.
pub(super) const MAKE: &str = r#"
    printf '#include <stdio.h>\nint main(void) { puts("it works"); return 0; }\n' >it.c
    printf 'test: it\n\t./it\nit: it.c\n\tcc -o it it.c\n' >Makefile
"#;

/// A package with a dependency that is an archive in the tree, and a script of its own.
pub(super) const NPM: &str = r#"
    mkdir dep vendor; echo '{"name": "dep", "version": "1.0.0", "bin": "it.js"}' >dep/package.json
    printf '#!/usr/bin/env node\nconsole.log("it works")\n' >dep/it.js; npm pack --silent --pack-destination vendor ./dep >npm.txt
    rm -r dep npm.txt
    echo '{"name": "it", "version": "1.0.0", "scripts": {"postinstall": "dep >made.txt"},
           "dependencies": {"dep": "file:vendor/dep-1.0.0.tgz"}}' >package.json
    npm install --silent --ignore-scripts --no-audit --no-fund; rm -r node_modules
"#;

/// A package with a test.
pub(super) const PYTHON: &str = r"
    printf 'from setuptools import setup\nsetup(name='\''it'\'', version='\''1'\'', py_modules=['\''it'\''])\n' >setup.py
    echo 'value = 7' >it.py; printf 'import it\ndef test_it():\n    assert it.value == 7\n' >test_it.py
";

/// A crate with a dependency in the tree, a build script and a test.
pub(super) const CARGO: &str = r#"
    mkdir -p src dep/src
    printf '[package]\nname = "it"\nversion = "1.0.0"\nedition = "2021"\n[dependencies]\ndep = { path = "dep" }\n' >Cargo.toml
    printf '[package]\nname = "dep"\nversion = "1.0.0"\nedition = "2021"\n' >dep/Cargo.toml
    echo 'pub fn seven() -> u8 { 7 }' >dep/src/lib.rs
    printf 'fn main() { println!("cargo::rustc-env=MADE=it works"); }\n' >build.rs
    printf '#[test]\nfn it() { assert_eq!(dep::seven(), 7); assert_eq!(env!("MADE"), "it works"); }\n' >src/lib.rs
"#;
