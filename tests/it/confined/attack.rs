//! One attack: something planted in the tree has a tool run the payload. It is tried unconfined first, where
//! every way out must be found, then confined, where none may be.

use std::os::fd::OwnedFd;

use nix::pty::openpty;

use super::outside::{Outside, WAYS};
use super::policy::{self, Policy};
use super::site::{Site, Tools, needs_confinement};
use crate::harness::{Reply, Status};

/// A way to have a tool run the payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attack {
    /// Makes the tree; run by the user in it, with `$PAYLOAD` as the payload's command line.
    pub(super) tree: &'static str,
    /// Plants the payload there.
    pub(super) plant: &'static str,
    /// The call that is then made, by a caller who means no harm.
    pub(super) call: &'static [&'static str],
    /// What the home has for it.
    pub(super) tools: Tools,
    /// Whether the caller is at a terminal.
    pub(super) terminal: bool,
}

/// What became of an attack.
#[derive(Debug)]
struct Outcome {
    /// How often the payload began.
    began: usize,
    /// The ways out that the payload found, and those that were seen from outside.
    told: Vec<String>,
    seen: Vec<&'static str>,
}

impl Attack {
    /// Unconfined, the payload finds every way out; by the published rules, none.
    #[track_caller]
    pub(super) fn is_held(self) {
        if !needs_confinement() {
            return;
        }
        self.reaches_all_unconfined();
        self.reaches_nothing(Policy::Published);
    }

    /// The same, and by the published rules the payload runs.
    #[track_caller]
    pub(super) fn runs_and_is_held(self) {
        if !needs_confinement() {
            return;
        }
        self.reaches_all_unconfined();
        assert!(self.reaches_nothing(Policy::Published) > 0, "the payload does not run: {self:?}");
    }

    /// The same by a profile that does not keep the payload from running.
    #[track_caller]
    pub(super) fn runs_and_is_held_by(self, profile: &'static str) {
        if !needs_confinement() {
            return;
        }
        let began = self.reaches_nothing(Policy::BuiltIn(profile));
        assert!(began > 0, "the payload does not run: {self:?}");
    }

    #[track_caller]
    fn reaches_all_unconfined(self) {
        let Outcome { told, seen, .. } = self.tried(Policy::Unconfined);
        let all: Vec<_> = WAYS.into_iter().filter(|way| !told.iter().any(|told| told == way)).collect();
        assert!(all.is_empty(), "the payload did not find {all:?}: {self:?}");
        let hidden = ["secret", "listing", "environ", "bus", "left"];
        let all: Vec<_> =
            WAYS.into_iter().filter(|way| !seen.contains(way) && !hidden.contains(way)).collect();
        assert!(all.is_empty(), "nothing came out by {all:?}: {self:?}");
    }

    #[track_caller]
    fn reaches_nothing(self, policy: Policy) -> usize {
        let Outcome { began, told, seen } = self.tried(policy);
        assert!(told.is_empty() && seen.is_empty(), "{policy:?}: {told:?} {seen:?}: {self:?}");
        began
    }

    #[track_caller]
    fn tried(self, policy: Policy) -> Outcome {
        let site = Site::new();
        self.tools.install(&site);
        let mut outside = Outside::around(&site);
        site.sh(&format!("{}\n{}", self.tree, self.plant));
        let broker = site.serve(&policy::rules(policy));
        let mut request = broker.request(self.call);
        let terminal = self.terminal.then(|| openpty(None, None).expect("a terminal"));
        if let Some(terminal) = &terminal {
            let end = || -> OwnedFd { terminal.slave.try_clone().expect("a copy") };
            request = request.given(0, end()).given(1, end()).given(2, end());
        }
        let answer = request.run();
        let ran = matches!(answer.reply, Reply::Status(Status(0..)));
        if !ran {
            answer.fail("the tool runs");
        }
        let report = outside.report();
        let seen = outside.seen(&broker);
        if report.began != report.ended || (policy == Policy::Unconfined && report.began == 0) {
            answer.fail(&format!("a whole report, not {report:?}"));
        }
        Outcome {
            began: report.began,
            told: report.ways.into_iter().collect(),
            seen: seen.into_iter().collect(),
        }
    }
}
