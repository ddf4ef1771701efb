//! Finds the rules whose literals and number of words fit a command line. The index is a tree over the words
//! of all rules, in which a slot is a branch that any word may take. So a decision looks only at rules that
//! fit, however many there are.

use std::collections::HashMap;
use std::sync::Arc;

use crate::limits::{REST_VALUES_MAX, SHADOWS_MAX};

use super::rule::{ExpectedWord, Rule, SlotCount};

/// A rule's place in file order.
pub(super) type RuleNumber = usize;

/// The tree. Literals are numbered once, so that a branch is a pair of numbers.
#[derive(Debug, Default)]
pub(super) struct RuleIndex {
    literals: HashMap<Box<str>, u32>,
    branches: HashMap<(usize, u32), usize>,
    nodes: Vec<IndexNode>,
    /// By the last component of a program: the first rule that runs it.
    names: HashMap<Box<str>, RuleNumber>,
}

/// A node: the rules and branches that follow one beginning of a command line.
#[derive(Debug)]
struct IndexNode {
    /// The first rule with this beginning.
    first: RuleNumber,
    /// The branch that any word may take.
    slot: Option<usize>,
    /// Rules that end here.
    ends: Vec<RuleNumber>,
    /// Rules that end in a slot for several values here.
    rests: Vec<RuleNumber>,
}

impl RuleIndex {
    /// The tree of these rules.
    pub(super) fn new(rules: &[Arc<Rule>]) -> Self {
        let mut index = Self::default();
        index.node(0);
        for (place, rule) in rules.iter().enumerate() {
            index.insert(place, rule);
        }
        index
    }

    fn insert(&mut self, place: RuleNumber, rule: &Rule) {
        if let Some(ExpectedWord::Literal(program)) = rule.words.first() {
            self.names.entry(last_component(program).into()).or_insert(place);
        }
        let mut node = 0;
        for word in &rule.words {
            node = match word {
                ExpectedWord::Literal(literal) => self.literal_branch(node, literal, place),
                ExpectedWord::Slot(slot) if slot.takes == SlotCount::Several => {
                    return self.nodes[node].rests.push(place);
                }
                ExpectedWord::Slot(_) => self.slot_branch(node, place),
            };
        }
        self.nodes[node].ends.push(place);
    }

    fn literal_branch(&mut self, from: usize, literal: &str, place: RuleNumber) -> usize {
        let next = u32::try_from(self.literals.len()).expect("a policy has fewer words than 2^32");
        let literal = match self.literals.get(literal) {
            Some(known) => *known,
            None => *self.literals.entry(literal.into()).or_insert(next),
        };
        if let Some(known) = self.branches.get(&(from, literal)) {
            return *known;
        }
        let node = self.node(place);
        self.branches.insert((from, literal), node);
        node
    }

    fn slot_branch(&mut self, from: usize, place: RuleNumber) -> usize {
        if let Some(known) = self.nodes[from].slot {
            return known;
        }
        let node = self.node(place);
        self.nodes[from].slot = Some(node);
        node
    }

    fn node(&mut self, first: RuleNumber) -> usize {
        self.nodes.push(IndexNode { first, slot: None, ends: Vec::new(), rests: Vec::new() });
        self.nodes.len() - 1
    }

    /// The rules whose literals and number of words fit, in file order.
    pub(super) fn candidates(&self, argv: &[&str]) -> Candidates {
        let (mut fitting, mut nodes, mut depth) = (Vec::new(), vec![0], argv.len());
        let mut overfull = None;
        for (at, word) in argv.iter().enumerate() {
            let rests = nodes.iter().flat_map(|&node| &self.nodes[node].rests);
            if argv.len() - at <= REST_VALUES_MAX {
                fitting.extend(rests);
            } else {
                overfull = rests.min().copied().or(overfull);
            }
            let next = self.step(&nodes, word);
            if next.is_empty() {
                depth = at;
                break;
            }
            nodes = next;
        }
        if depth == argv.len() {
            fitting.extend(nodes.iter().flat_map(|&node| &self.nodes[node].ends));
        }
        fitting.sort_unstable();
        Candidates { fitting, closest: overfull.or_else(|| self.closest(&nodes, depth)) }
    }

    /// The rules that may take every command line of a rule with these words: each has at each place the same
    /// literal, or a slot. Of rules with the same shape, the first [`SHADOWS_MAX`].
    pub(super) fn wider(&self, words: &[ExpectedWord]) -> Vec<RuleNumber> {
        let (mut found, mut nodes) = (Vec::new(), vec![0]);
        for word in words {
            found.extend(nodes.iter().flat_map(|&node| self.nodes[node].rests.iter().take(SHADOWS_MAX)));
            nodes = match word {
                ExpectedWord::Literal(literal) => self.step(&nodes, literal),
                ExpectedWord::Slot(_) => nodes.iter().filter_map(|&node| self.nodes[node].slot).collect(),
            };
        }
        found.extend(nodes.iter().flat_map(|&node| self.nodes[node].ends.iter().take(SHADOWS_MAX)));
        found
    }

    /// The nodes that one more word leads to.
    fn step(&self, nodes: &[usize], word: &str) -> Vec<usize> {
        let literal = self.literals.get(word);
        let branch = |node: usize| literal.and_then(|&literal| self.branches.get(&(node, literal)).copied());
        nodes.iter().flat_map(|&node| branch(node).into_iter().chain(self.nodes[node].slot)).collect()
    }

    /// The first rule with the beginning that these nodes stand for; `None` if `depth`, its number of words,
    /// is 0.
    fn closest(&self, nodes: &[usize], depth: usize) -> Option<RuleNumber> {
        let first = nodes.iter().map(|&node| self.nodes[node].first).min();
        first.filter(|_| depth > 0)
    }

    /// The first rule whose program has the same last component.
    pub(super) fn namesake(&self, program: &str) -> Option<RuleNumber> {
        self.names.get(last_component(program)).copied()
    }
}

/// The rules for one command line.
#[derive(Debug)]
pub(super) struct Candidates {
    /// The rules whose literals and number of words fit, in file order.
    pub(super) fitting: Vec<RuleNumber>,
    /// The first rule that would fit with fewer values for its last slot; else the first rule that shares the
    /// longest beginning with the command line.
    pub(super) closest: Option<RuleNumber>,
}

fn last_component(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}
