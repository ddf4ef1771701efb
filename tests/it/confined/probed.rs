//! Probes of what a confined command can do, beside the same unconfined: a home with a project, all that lies
//! outside of it, and a broker whose rules run `escapes.py`.

use std::collections::BTreeMap;
use std::fs;
use std::process::Child;

use serde_json::json;

use super::outside::Outside;
use super::site::{Site, needs_confinement};
use crate::harness::{Broker, Pid, SOON, needs, within};

/// A probe of `escapes.py`: its name, kind and target; what comes of it confined, and unconfined.
pub(super) type Probe = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// A site with all that the probes need.
#[derive(Debug)]
pub(super) struct Probed {
    // The broker ends before its socket's directory does.
    pub(super) broker: Broker,
    pub(super) outside: Outside,
    pub(super) site: Site,
    agent: Child,
    ids: [String; 2],
}

impl Probed {
    /// All of it, with these rules, in which `$PORT` is a port of this machine that answers.
    pub(super) fn new(rules: &str) -> Option<Self> {
        if !needs_confinement() || !needs("ssh-agent", "openssh-client") {
            return None;
        }
        let site = Site::new();
        let outside = Outside::around(&site);
        site.sh("ln -s $HOME/.ssh/id to-secret; ln -s $HOME/notes to-notes; echo own >own; cp /bin/echo prog
            touch $HOME/.gitconfig $HOME/.git-credentials $HOME/.npmrc
            mkdir -p hidden sub/kept sub/other $HOME/extra/hidden
            for it in hidden sub/kept $HOME/extra $HOME/extra/hidden; do echo in >$it/file; done");
        site.write("agent/project/escapes.py", include_str!("escapes.py"));
        let id = |kind| {
            let said = site.sh(&format!("ipcmk {kind} -p 0600")).stdout();
            said.split_whitespace().last().expect("a number").to_owned()
        };
        let ids = [id("-M 4096"), id("-Q")];
        let agent = ssh_agent(&site);
        let broker = site.serve(&rules.replace("$PORT", &outside.port().to_string()));
        Some(Self { broker, outside, site, agent, ids })
    }

    /// The target with the names of what is there, as JSON: words, numbers, or a list by lines.
    fn target(&self, text: &str) -> serde_json::Value {
        let victim = self.outside.victim();
        let home = self.site.home();
        let text = text
            .replace("$HOME", &home.to_string_lossy())
            .replace("$NAME", &home.file_name().expect("it has a name").to_string_lossy())
            .replace("$TREE", &self.site.tree().to_string_lossy())
            .replace("$VICTIM", &victim.0.to_string())
            .replace("$ADDRESS", &address(victim).to_string())
            .replace("$ABSTRACT", self.outside.name())
            .replace("$PORT", &self.outside.port().to_string())
            .replace("$OTHER", &self.outside.other_port().to_string())
            .replace("$SHARED", &self.ids[0])
            .replace("$QUEUE", &self.ids[1]);
        let number = |word: &str| match word.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => word.parse().ok(),
        };
        let word = |word: &str| number(word).map_or_else(|| json!(word), |number| json!(number));
        match (text.contains('\n'), text.contains(' ')) {
            (true, _) => text.lines().map(word).collect(),
            (false, true) => text.split(' ').map(word).collect(),
            (false, false) => word(&text),
        }
    }

    /// What comes of the probes under the rule of this name.
    pub(super) fn tried(
        &self,
        rule: &str,
        probes: &[Probe],
        stdin: Option<std::os::fd::OwnedFd>,
    ) -> BTreeMap<String, String> {
        let list: Vec<_> =
            probes.iter().map(|probe| json!([probe.0, probe.1, self.target(probe.2)])).collect();
        self.site.write("agent/project/probes.json", &serde_json::Value::from(list).to_string());
        let mut request = self.broker.request(&["/usr/bin/python3", "escapes.py", rule]);
        if let Some(stdin) = stdin {
            request = request.given(0, stdin);
        }
        let answer = request.run().exited(0).complained("");
        let text = answer.text();
        let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        lines.map(|(name, came)| (name.to_owned(), came.to_owned())).collect()
    }

    /// Confined, each probe comes to what its row says, and then unconfined.
    #[track_caller]
    pub(super) fn hold(
        &self,
        rule: &str,
        probes: &[Probe],
        stdin: impl Fn() -> Option<std::os::fd::OwnedFd>,
    ) {
        let want = |free: bool| {
            let rows = probes
                .iter()
                .map(|probe| (probe.0.to_owned(), if free { probe.4 } else { probe.3 }.to_owned()));
            rows.collect::<BTreeMap<_, _>>()
        };
        let differ = |rule: &str, free: bool| {
            let came = self.tried(rule, probes, stdin());
            let want = want(free).into_iter();
            let differ = want.filter(|(name, want)| came.get(name) != Some(want));
            differ
                .map(|(name, want)| format!("{rule}: {name}: want {want}, got {:?}", came.get(&name)))
                .collect::<Vec<_>>()
        };
        let wrong = [differ(rule, false), differ("free", true)].concat();
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }
}

impl Drop for Probed {
    fn drop(&mut self) {
        self.agent.kill().ok();
        self.agent.wait().ok();
        let [shared, queue] = &self.ids;
        self.site.sh(&format!("ipcrm -m {shared} -q {queue}"));
    }
}

/// An agent of ssh's, with a socket of the user's.
fn ssh_agent(site: &Site) -> Child {
    let path = site.home().join("run/agent");
    let agent = site.command(&["ssh-agent", "-D", "-a", &path.to_string_lossy()]);
    let agent = { agent }.spawn().expect("openssh-client is installed");
    within(SOON, "the agent listens", || path.exists().then_some(()));
    agent
}

/// An address that the process can write: the lowest of its stack.
fn address(pid: Pid) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{}/maps", pid.0)).expect("it runs");
    let stack = maps.lines().find(|line| line.ends_with("[stack]")).expect("it has a stack");
    u64::from_str_radix(stack.split('-').next().expect("a range"), 16).expect("an address")
}
