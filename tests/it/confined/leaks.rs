//! Repositories that have git read what lies outside of the tree, without running anything.

use super::policy::{self, Policy};
use super::site::{Site, needs_confinement};
use super::trees;

const SECRET: &str = "s3cret-of-another-repository";

/// Another repository of the user's, in the home, with a secret in its last commit.
const PRIVATE: &str = "
    git init --quiet --initial-branch=main $HOME/private; cd $HOME/private
    git config user.name User; git config user.email user@example.com
    echo s3cret-of-another-repository >secret; git add secret; git commit --quiet -m secret; cd $OLDPWD
";

/// Unconfined, the call gets the secret, or puts it into the tree; confined, it does neither.
#[track_caller]
fn is_kept(plant: &str, call: &[&str]) {
    if !needs_confinement() {
        return;
    }
    for (policy, want) in
        [(Policy::Unconfined, true), (Policy::Published, false), (Policy::BuiltIn("workspace"), false)]
    {
        let site = Site::new();
        site.sh(&format!("{PRIVATE}{}{plant}", trees::GIT));
        let broker = site.serve(&policy::rules(policy));
        let answer = broker.request(call).run();
        // All that the tree's repository has of its own by now, and the one beside it.
        let objects = "test -d .git || rm .git
            rm -f .git/objects/info/alternates .git/config .git/commondir
            for it in $PWD/.git ../project.git; do
                git --git-dir=$it cat-file --batch-all-objects --batch --buffer 2>&- || :
            done";
        let has = answer.text().contains(SECRET) || site.sh(objects).stdout().contains(SECRET);
        if has != want {
            answer.fail(&format!("{policy:?}: the secret comes out: {has}, and not {want}"));
        }
    }
}

#[test]
fn a_work_tree_that_is_a_directory_of_the_home() {
    is_kept("git config core.worktree $HOME/private; rm .git/info/exclude", &["git", "add", "--all"]);
}

#[test]
fn a_repository_that_is_another() {
    is_kept("rm -r .git; echo \"gitdir: $HOME/private/.git\" >.git", &["git", "show", "HEAD"]);
}

#[test]
fn a_repository_that_is_another_and_is_taken_over() {
    is_kept("rm -r .git; echo \"gitdir: $HOME/private/.git\" >.git", &trees::TAKE_OVER);
}

#[test]
fn objects_of_another_repository() {
    let plant = "git -C $HOME/private rev-parse HEAD >.git/refs/heads/main
        echo $HOME/private/.git/objects >.git/objects/info/alternates";
    is_kept(plant, &["git", "show", "HEAD"]);
}

#[test]
fn a_common_directory_that_is_another_repositorys() {
    is_kept("echo $HOME/private/.git >.git/commondir", &["git", "show", "HEAD"]);
}

#[test]
fn a_remote_that_is_another_repository() {
    let plant = "git config url.$HOME/private.insteadOf ../project.git
        git -C $HOME/private update-ref refs/remotes/origin/main main";
    let refs = "+refs/remotes/origin/*:refs/remotes/origin/*";
    is_kept(plant, &["git", "fetch", "--quiet", "../project.git", refs]);
}
