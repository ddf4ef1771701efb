//! Parses the values of the keys that confine, but for places. Each function takes the words of a value, of
//! which there is at least one, and reports a problem at its place.

use std::fmt::Debug;

use super::confinement::{NetAccess, OnMissing, ProcessLimit, SyscallSet, TmpAccess};
use super::fault::RulesFault;
use super::places::{StatedPlace, is_word, places};
use super::resources::bytes;
use super::values;
use super::variables::LoadVariables;
use super::word::QuotedWord;

pub(super) const SYSCALLS: &[(&str, SyscallSet)] =
    &[("default", SyscallSet::Default), ("strict", SyscallSet::Strict), ("any", SyscallSet::Any)];
pub(super) const TMP: &[(&str, TmpAccess)] =
    &[("private", TmpAccess::Private), ("shared", TmpAccess::Shared)];
pub(super) const ON_MISSING: &[(&str, OnMissing)] =
    &[("refuse", OnMissing::Refuse), ("degrade", OnMissing::Degrade)];

/// The least descriptors with which a program can be started: its three, and one for a library.
const NOFILE_LEAST: u64 = 4;

/// What a value of `unix` states beside its places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketScope {
    None,
    Any,
    /// Those of the list.
    Listed,
}

/// One of a few words.
pub(super) fn choice<T: Copy + Debug>(
    words: &[QuotedWord],
    choices: &[(&'static str, T)],
) -> Result<T, RulesFault> {
    values::choice(only(words)?, choices)
}

/// The word, if it is the only one.
fn only(words: &[QuotedWord]) -> Result<&QuotedWord, RulesFault> {
    match words {
        [word] => Ok(word),
        [_, extra, ..] => {
            let fault = RulesFault::new(extra.span, "this key has one word as its value");
            Err(fault.help("leave this out; a comment begins with `;`"))
        }
        [] => unreachable!("a value has at least one word"),
    }
}

/// `none`, `any`, or `tcp:` and port numbers between commas.
pub(super) fn net(word: &QuotedWord) -> Result<NetAccess, RulesFault> {
    let text = word.text();
    match &*text {
        "none" => return Ok(NetAccess::None),
        "any" => return Ok(NetAccess::Any),
        _ => {}
    }
    let parts = word.split(',');
    let words: Vec<_> = parts.iter().flat_map(blank_separated).collect();
    if let Some(word) = words.iter().find(|word| words.len() > 1 && is_alone(word)) {
        return Err(alone(word));
    }
    if words.len() > parts.len() {
        let ports: Vec<_> = words.iter().map(|word| word.text().replace("tcp:", "")).collect();
        let fault = RulesFault::new(word.span, "ports stand between commas, and these between blanks");
        return Err(fault.help(format!("write `tcp:{}`", ports.join(","))));
    }
    if !text.starts_with("tcp:") {
        let fault = RulesFault::new(word.span, format!("`{text}` is not `none`, `any` or `tcp:` with ports"));
        return Err(fault.help(net_instead(&text)));
    }
    let numbers = word.slice("tcp:".len(), word.glyphs.len());
    let ports = numbers.split(',').iter().map(port).collect::<Result<Vec<_>, _>>();
    ports.map(|mut ports| {
        ports.sort_unstable();
        ports.dedup();
        NetAccess::Tcp(ports)
    })
}

/// The words of a part, one at least, which may be empty.
fn blank_separated(part: &QuotedWord) -> Vec<QuotedWord> {
    let words = part.split(' ').into_iter().flat_map(|word| word.split('\t'));
    let mut words: Vec<_> = words.filter(|word| !word.glyphs.is_empty()).collect();
    if words.is_empty() {
        words.push(part.clone());
    }
    words
}

fn is_alone(word: &QuotedWord) -> bool {
    is_word(word, "none") || is_word(word, "any")
}

fn alone(word: &QuotedWord) -> RulesFault {
    let text = word.text();
    RulesFault::new(word.span, format!("`{text}` stands alone"))
        .help(format!("leave the others out, or `{text}`"))
}

fn net_instead(text: &str) -> String {
    let is_ports = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
    match text.to_ascii_lowercase().as_str() {
        "no" | "off" | "false" | "never" => "write `none`".into(),
        "yes" | "on" | "true" | "all" | "full" => "write `any`".into(),
        "tcp" => "write its ports, `tcp:443`, or `any`".into(),
        "http" | "https" | "tcp/443" => "write `tcp:443`".into(),
        "localhost" | "local" | "loopback" => {
            "an address cannot be chosen here: write the port, `tcp:8080`, which then is every host's".into()
        }
        low if low.starts_with("udp") => "only TCP has ports here; for UDP, write `any`".into(),
        _ if is_ports => format!("write `tcp:{text}`"),
        _ => "write `none`, `any`, or `tcp:443,22`".into(),
    }
}

fn port(word: &QuotedWord) -> Result<u16, RulesFault> {
    let text = word.text();
    if text.is_empty() {
        return Err(RulesFault::new(word.span, "a port is missing here").help("write its number: `tcp:443`"));
    }
    let number = text.parse().ok().filter(|port| *port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()));
    number.ok_or_else(|| {
        let help = match text.strip_prefix("tcp:") {
            Some(bare) => format!("`tcp:` stands once, in front: write `{bare}`"),
            None => "a port is a number from 1 to 65535".into(),
        };
        RulesFault::new(word.span, format!("`{text}` is no port")).help(help)
    })
}

/// `none`, `any`, or the places of sockets.
pub(super) fn unix(
    words: &[QuotedWord],
    vars: &LoadVariables<'_>,
) -> Result<(SocketScope, Vec<StatedPlace>), RulesFault> {
    match words {
        [word] if is_word(word, "none") => return Ok((SocketScope::None, Vec::new())),
        [word] if is_word(word, "any") => return Ok((SocketScope::Any, Vec::new())),
        _ => {}
    }
    if let Some(word) = words.iter().find(|word| is_alone(word)) {
        return Err(alone(word));
    }
    places(words, vars).map(|sockets| (SocketScope::Listed, sockets))
}

/// A limit of setrlimit(2); `infinity` is `u64::MAX`.
pub(super) fn limit(limit: ProcessLimit, words: &[QuotedWord]) -> Result<u64, RulesFault> {
    let word = only(words)?;
    let text = word.text();
    if text == "infinity" {
        return Ok(u64::MAX);
    }
    let whole = || Some(&*text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok();
    let (number, help) = match limit {
        ProcessLimit::Nofile => {
            let number = whole().filter(|number| *number >= NOFILE_LEAST);
            (number, "write a number of descriptors, 4 or more, or infinity: `256`")
        }
        ProcessLimit::Nproc => {
            let number = whole().filter(|number| *number > 0);
            (number, "write a number of processes, above 0, or infinity: `50`")
        }
        ProcessLimit::Core | ProcessLimit::Fsize => {
            (bytes(&text), "write whole bytes with K, M, G or T, or infinity: `512M`")
        }
    };
    number
        .filter(|number| *number < u64::MAX)
        .ok_or_else(|| RulesFault::new(word.span, format!("`{text}` does not fit here")).help(help))
}
