//! Payloads that build tools and package managers run from a tree which an attacker writes.

use super::attack::Attack;
use super::site::Tools;
use super::trees;
use crate::harness::{apart, needs, needs_mounts, needs_python_module};

const MAKE: &[&str] = &["make", "test"];
const NPM: &[&str] = &["npm", "ci", "--no-audit", "--no-fund"];
pub(super) const PIP: &[&str] = &[
    "python3",
    "-m",
    "pip",
    "install",
    "--quiet",
    "--no-index",
    "--no-build-isolation",
    "--target",
    "site",
    ".",
];
pub(super) const PYTEST: &[&str] = &["python3", "-m", "pytest", "-q"];
const CARGO: &[&str] = &["cargo", "build", "--quiet", "--offline"];

const fn planted(tree: &'static str, plant: &'static str, call: &'static [&'static str]) -> Attack {
    Attack { tree, plant, call, tools: Tools::System, terminal: false }
}

#[test]
fn a_shell_line_in_a_makefile() {
    make("echo \"X := \\$(shell $PAYLOAD)\" >>Makefile");
}

#[test]
fn a_recipe_in_a_makefile() {
    make("printf '\\t%s\\n' \"$PAYLOAD\" >>Makefile");
}

#[track_caller]
fn make(plant: &'static str) {
    if needs("make", "make") {
        planted(trees::MAKE, plant, MAKE).runs_and_is_held();
    }
}

#[track_caller]
fn npm(plant: &'static str) {
    if needs("npm", "npm") {
        planted(trees::NPM, plant, NPM).runs_and_is_held();
    }
}

#[test]
fn a_script_before_an_installation() {
    npm("npm pkg set scripts.preinstall=\"$PAYLOAD\"");
}

#[test]
fn a_program_that_npm_takes_for_git() {
    npm("echo git=$PWD/payload.py >.npmrc
         npm pkg set dependencies.other=git+file:///nowhere
         sed -i 's|\"dependencies\": {|&\"other\": \"git+file:///nowhere\",|; s|\"packages\": {|&\"node_modules/other\": \
         {\"version\": \"1.0.0\", \"resolved\": \"git+file:///nowhere#0000000000000000000000000000000000000000\"},|' package-lock.json");
}

#[test]
fn options_of_node() {
    npm("echo \"require('child_process').execSync('$PAYLOAD')\" >x.js; echo \"node-options=--require $PWD/x.js\" >.npmrc
         npm pkg set scripts.postinstall='node -e 0'");
}

#[test]
fn a_python_package_that_is_built() {
    if needs("pip", "python3-pip") {
        planted(trees::PYTHON, "echo \"import os; os.system('$PAYLOAD')\" >>setup.py", PIP)
            .runs_and_is_held();
    }
}

#[test]
fn a_configuration_of_tests() {
    if !needs_python_module("pytest", "python3-pytest") {
        return;
    }
    planted(trees::PYTHON, "echo \"import os; os.system('$PAYLOAD')\" >conftest.py", PYTEST)
        .runs_and_is_held();
}

#[track_caller]
fn cargo(plant: &'static str) {
    if needs_mounts() {
        let attack = Attack { tools: Tools::Cargo, ..planted(trees::CARGO, plant, CARGO) };
        apart(move || attack.runs_and_is_held());
    }
}

#[test]
fn a_build_script() {
    cargo(
        "echo \"fn main() { std::process::Command::new(\\\"$PWD/payload.py\\\").status().ok(); }\" >build.rs",
    );
}

#[test]
fn a_wrapper_of_the_compiler() {
    cargo("mkdir .cargo; echo \"build.rustc-wrapper = '$PWD/payload.py'\" >.cargo/config.toml");
}

#[test]
fn a_macro_of_the_compilers_process() {
    cargo("mkdir -p evil/src; printf '[package]\\nname = \"evil\"\\nedition = \"2021\"\\n[lib]\\nproc-macro = true\\n' >evil/Cargo.toml
         printf '[dependencies.evil]\\npath = \"evil\"\\n' >>Cargo.toml; echo 'evil::run!{}' >>src/lib.rs
         echo \"#[proc_macro] pub fn run(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
           std::process::Command::new(\\\"$PWD/payload.py\\\").status().ok(); Default::default() }\" >evil/src/lib.rs");
}

#[test]
fn a_toolchain_of_the_trees() {
    cargo(
        "mkdir -p chain/bin; cp payload.py chain/bin/cargo; ln -s ../lib chain/lib; cp targets.json chain/bin
         touch report.txt; ln -s ../../report.txt chain/bin/report.txt
         printf '[toolchain]\\npath = \"%s/chain\"\\n' \"$PWD\" >rust-toolchain.toml",
    );
}
