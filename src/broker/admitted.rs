//! A call that a rule allows. It is decided again after each wait, for a place or for a process, so that a
//! call starts only if the rules in force and the disk allow it at that time.

use std::sync::Arc;

use crate::audit::Caller;
use crate::ids::ClaimedWord;
use crate::limits::DECISIONS_MAX;
use crate::refusal::Refusal;
use crate::rules::{HangupAction, MatchedRule, MissReason, Policy};

use super::candidate::Candidate;
use super::client_request::ClientRequest;
use super::disk::Disk;
use super::events::BrokerEvents;
use super::ruleset::Ruleset;

/// A call that a rule allows, with its request.
#[derive(Debug)]
pub(super) struct AdmittedCall {
    pub(super) client: ClientRequest,
    pub(super) allowed: Box<AllowedCall>,
}

/// The rule that allows a call, and how it matched.
#[derive(Debug)]
pub(super) struct AllowedCall {
    pub(super) caller: Caller,
    pub(super) matched: MatchedRule,
    pub(super) policy: Arc<Policy>,
    /// The bytes of its words, counted twice: here and in its request.
    bytes: usize,
    /// Whether time has passed since it was decided.
    waited: bool,
    /// The number of second decisions that came to another result.
    turns: u32,
}

/// The result of a second decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecondLook {
    /// The same rule decides.
    Same,
    /// Another rule decides, other rules are in force, or the match was made anew: the call may count
    /// elsewhere, or run in another way.
    Other,
}

impl Candidate for AdmittedCall {
    fn rule(&self) -> &Arc<str> {
        &self.allowed.matched.rule.text
    }

    fn rule_limit(&self) -> Option<u32> {
        self.allowed.matched.rule.settings.max_calls
    }

    fn socket_limit(&self) -> u32 {
        self.allowed.policy.max_calls()
    }

    fn bytes(&self) -> usize {
        self.allowed.bytes
    }

    fn note_wait(&mut self) {
        self.allowed.waited = true;
    }

    fn has_left(&self) -> bool {
        self.allowed.matched.rule.settings.on_hangup == HangupAction::Kill && self.client.connection.is_over()
    }

    fn tell_wait(&mut self, limit: u32) {
        self.client.tell_wait(limit);
    }
}

impl AllowedCall {
    pub(super) fn new(caller: Caller, matched: MatchedRule, policy: Arc<Policy>) -> Self {
        let bytes = 2 * matched.argv.iter().map(|word| word.as_str().len()).sum::<usize>();
        Self { caller, matched, policy, bytes, waited: false, turns: 0 }
    }

    /// Decides again after a wait, by the rules in force and the disk as it is now.
    pub(super) fn look_again(
        &mut self,
        rules: &Ruleset,
        events: &BrokerEvents,
        argv: &[ClaimedWord],
    ) -> Result<SecondLook, Refusal> {
        if events.is_stopping() {
            return Err(Refusal::Stopping);
        }
        let policy = rules.policy();
        let is_old = !Arc::ptr_eq(&policy, &self.policy);
        if !(is_old || self.waited && self.matched.looked) {
            return Ok(SecondLook::Same);
        }
        let matched = decide(events, &policy, argv)?;
        let is_other = is_old || !Arc::ptr_eq(&matched.rule, &self.matched.rule);
        (self.matched, self.policy, self.waited) = (matched, policy, false);
        if !is_other {
            return Ok(SecondLook::Same);
        }
        self.turns += 1;
        if self.turns > DECISIONS_MAX { Err(Refusal::Unsettled) } else { Ok(SecondLook::Other) }
    }

    /// Decides for the last time, when the process is ready and nothing is on record. The call keeps its
    /// place, but is refused where its process would now have to be made in another way.
    pub(super) fn settle(
        &mut self,
        rules: &Ruleset,
        events: &BrokerEvents,
        argv: &[ClaimedWord],
    ) -> Result<SecondLook, Refusal> {
        let policy = rules.policy();
        if Arc::ptr_eq(&policy, &self.policy) && !self.matched.looked {
            return Ok(SecondLook::Same);
        }
        let matched = decide(events, &policy, argv)?;
        let are_alike = policy.scope() == self.policy.scope() && policy.audit() == self.policy.audit();
        if !are_alike || !matched.rule.settings.is_made_like(&self.matched.rule.settings) {
            return Err(Refusal::Unsettled);
        }
        (self.matched, self.policy) = (matched, policy);
        Ok(SecondLook::Other)
    }

    /// Whether rules other than those that decided are in force now.
    pub(super) fn is_outdated(&self, rules: &Ruleset) -> bool {
        !Arc::ptr_eq(&rules.policy(), &self.policy)
    }
}

/// Decides on a command line. Errors: no rule allows it, or the stop cut a long decision short.
pub(super) fn decide(
    events: &BrokerEvents,
    policy: &Policy,
    argv: &[ClaimedWord],
) -> Result<MatchedRule, Refusal> {
    policy.decide(argv, &Disk).map_err(|miss| {
        let is_cut = miss.reason == MissReason::TooCostly && events.is_stopping();
        if is_cut { Refusal::Stopping } else { Refusal::NoRule(miss) }
    })
}
