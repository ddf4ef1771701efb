//! The keys of a rule's confinement, written as in a rules file, each with its values in force.

use crate::rules::{
    ConfinedPath, Confinement, NetAccess, OnMissing, ProcessLimit, RuleSettings, SyscallSet, TmpAccess,
    UnixAccess,
};
use crate::text::quoted;

use super::settings::written_bytes;

/// The keys with their values: a list has one for each place. An unconfined rule has `confine = none`.
pub(super) fn confinement_settings(settings: &RuleSettings) -> Vec<(&'static str, Vec<String>)> {
    let Some(confinement) = &settings.confinement else { return vec![("confine", vec!["none".into()])] };
    let mut all: Vec<_> =
        choices_of(confinement).into_iter().map(|(key, value)| (key, vec![value])).collect();
    all.extend(lists_of(confinement));
    all
}

/// The keys that have one value.
pub(super) fn choices_of(confinement: &Confinement) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    // Beside keys, `confine = none` cannot be written.
    if &*confinement.profile != "none" {
        all.push(("confine", confinement.profile.to_string()));
    }
    all.push(("net", net(&confinement.net)));
    match confinement.unix {
        UnixAccess::None => all.push(("unix", "none".into())),
        UnixAccess::Any => all.push(("unix", "any".into())),
        UnixAccess::Paths(_) => {}
    }
    let syscalls = match confinement.syscalls {
        SyscallSet::Default => "default",
        SyscallSet::Strict => "strict",
        SyscallSet::Any => "any",
    };
    let tmp = if confinement.tmp == TmpAccess::Private { "private" } else { "shared" };
    let on_missing = if confinement.on_missing == OnMissing::Degrade { "degrade" } else { "refuse" };
    let words = [("syscalls", syscalls), ("tmp", tmp), ("on_missing", on_missing)];
    all.extend(words.map(|(key, word)| (key, word.to_owned())));
    all.extend(confinement.limits.iter().map(|(limit, most)| match limit {
        ProcessLimit::Nofile => ("nofile", most.to_string()),
        ProcessLimit::Core => ("core", written_bytes(*most)),
        ProcessLimit::Nproc => ("nproc", most.to_string()),
        ProcessLimit::Fsize => ("fsize", written_bytes(*most)),
    }));
    all
}

/// The lists that are set, each with its places.
pub(super) fn lists_of(confinement: &Confinement) -> Vec<(&'static str, Vec<String>)> {
    let Confinement { read, write, exec, hide, protect, unix, .. } = confinement;
    let lists = [("read", read), ("write", write), ("exec", exec)];
    let lists = lists.into_iter().filter_map(|(key, list)| Some((key, list.as_deref()?)));
    let taken = [("hide", hide), ("protect", protect)].into_iter();
    let taken = taken.filter(|(_, list)| !list.is_empty()).map(|(key, list)| (key, list.as_slice()));
    let sockets = match unix {
        UnixAccess::Paths(sockets) => Some(("unix", sockets.as_slice())),
        UnixAccess::None | UnixAccess::Any => None,
    };
    lists.chain(taken).chain(sockets).map(|(key, list)| (key, places(list))).collect()
}

fn places(list: &[ConfinedPath]) -> Vec<String> {
    if list.is_empty() {
        return vec!["none".into()];
    }
    let place = |place: &ConfinedPath| {
        let sign = if place.optional { "-" } else { "" };
        quoted(&format!("{sign}{}", place.path.display())).into_owned()
    };
    list.iter().map(place).collect()
}

fn net(net: &NetAccess) -> String {
    match net {
        NetAccess::None => "none".into(),
        NetAccess::Any => "any".into(),
        NetAccess::Tcp(ports) => {
            format!("tcp:{}", ports.iter().map(u16::to_string).collect::<Vec<_>>().join(","))
        }
    }
}
