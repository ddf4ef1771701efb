//! What stanzas state of a confinement: a profile, a rule or `defaults:`. Statements are laid one over the
//! other, the nearer one on top, and become a [`Confinement`] for the rules with one `cwd`. `profiles.rs`
//! finds the profiles.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::confined_values::{self as values, SocketScope};
use super::confinement::{
    ConfinedPath, Confinement, NetAccess, OnMissing, ProcessLimit, SyscallSet, TmpAccess, UnixAccess,
};
use super::fault::{RulesFault, SourceSpan};
use super::places::{StatedPlace, place, places};
use super::variables::LoadVariables;
use super::word::QuotedWord;

/// A key that confines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConfiningKey {
    Places(PlaceList),
    Net,
    Unix,
    Syscalls,
    Tmp,
    OnMissing,
    Limit(ProcessLimit),
}

/// The lists of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum PlaceList {
    Read,
    Write,
    Exec,
    Hide,
    Protect,
    /// The sockets of `unix`.
    Sockets,
}

impl PlaceList {
    /// The key.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Exec => "exec",
            Self::Hide => "hide",
            Self::Protect => "protect",
            Self::Sockets => "unix",
        }
    }

    /// Whether what it names can be read.
    pub(super) fn gives_access(self) -> bool {
        matches!(self, Self::Read | Self::Write | Self::Exec)
    }
}

/// A profile's name, where a stanza names it.
#[derive(Clone, Debug)]
pub(super) struct NamedProfile {
    pub(super) name: String,
    pub(super) span: SourceSpan,
}

/// What one or several stanzas state.
#[derive(Clone, Debug, Default)]
pub(super) struct StatedConfinement {
    /// The lists that are set, and their places.
    lists: Vec<(PlaceList, Vec<StatedPlace>)>,
    net: Option<NetAccess>,
    unix: Option<SocketScope>,
    syscalls: Option<SyscallSet>,
    tmp: Option<TmpAccess>,
    on_missing: Option<OnMissing>,
    limits: Vec<(ProcessLimit, u64)>,
    /// The first key that confines, as it is written, and its place.
    first: Option<(String, SourceSpan)>,
}

/// A place of a confinement, with the stanza's word for it.
#[derive(Clone, Debug)]
pub(super) struct PlacedPath<'s> {
    pub(super) list: PlaceList,
    pub(super) place: ConfinedPath,
    pub(super) stated: &'s StatedPlace,
}

impl StatedConfinement {
    /// Takes the value of a key: its words, which are at least one; for a network one word, with the blanks
    /// in it.
    pub(super) fn set(
        &mut self,
        key: ConfiningKey,
        words: &[QuotedWord],
        vars: &LoadVariables<'_>,
    ) -> Result<(), RulesFault> {
        match key {
            ConfiningKey::Places(list) => self.add(list, places(words, vars)?),
            ConfiningKey::Net => self.net = Some(values::net(&words[0])?),
            ConfiningKey::Unix => {
                let (scope, sockets) = values::unix(words, vars)?;
                self.unix = Some(scope);
                self.add(PlaceList::Sockets, sockets);
            }
            ConfiningKey::Syscalls => self.syscalls = Some(values::choice(words, values::SYSCALLS)?),
            ConfiningKey::Tmp => self.tmp = Some(values::choice(words, values::TMP)?),
            ConfiningKey::OnMissing => self.on_missing = Some(values::choice(words, values::ON_MISSING)?),
            ConfiningKey::Limit(limit) => self.limits.push((limit, values::limit(limit, words)?)),
        }
        Ok(())
    }

    /// Takes the places of a built-in profile's list, but for those that name a variable that is not set.
    pub(super) fn set_known(&mut self, list: PlaceList, words: &[QuotedWord], vars: &LoadVariables<'_>) {
        let known = words.iter().filter_map(|word| place(word, vars).ok());
        self.add(list, known.map(|place| StatedPlace { span: None, ..place }).collect());
    }

    /// Notes a key that confines, and its place.
    pub(super) fn note(&mut self, key: &str, span: SourceSpan) {
        self.first.get_or_insert_with(|| (key.to_owned(), span));
    }

    /// The first key that stands in the stanza.
    pub(super) fn first(&self) -> Option<(&str, SourceSpan)> {
        self.first.as_ref().map(|(key, span)| (&**key, *span))
    }

    fn add(&mut self, list: PlaceList, places: Vec<StatedPlace>) {
        match self.lists.iter_mut().find(|(known, _)| *known == list) {
            Some((_, known)) => known.extend(places),
            None => self.lists.push((list, places)),
        }
    }

    /// These statements over others: lists are added to, others replaced.
    pub(super) fn over(&self, below: &Self) -> Self {
        let mut both = below.clone();
        for (list, places) in &self.lists {
            both.add(*list, places.clone());
        }
        both.limits.retain(|(known, _)| self.limits.iter().all(|(own, _)| own != known));
        both.limits.extend(&self.limits);
        both.net = self.net.clone().or(both.net);
        both.unix = self.unix.or(both.unix);
        if matches!(self.unix, Some(SocketScope::None | SocketScope::Any)) {
            both.lists.retain(|(list, _)| *list != PlaceList::Sockets);
        }
        both.syscalls = self.syscalls.or(both.syscalls);
        both.tmp = self.tmp.or(both.tmp);
        both.on_missing = self.on_missing.or(both.on_missing);
        both
    }

    /// The statements of `defaults:` that hold for a rule with a profile of its own: what is done where a
    /// part is missing, and the limits.
    pub(super) fn without_access(&self) -> Self {
        Self { on_missing: self.on_missing, limits: self.limits.clone(), ..Self::default() }
    }

    /// Whether any of it confines a command.
    pub(super) fn confines(&self) -> bool {
        let has_limit = self.limits.iter().any(|(_, most)| *most != u64::MAX);
        let has_choice = self.syscalls.is_some() || self.tmp.is_some();
        !self.lists.is_empty() || self.net.is_some() || self.unix.is_some() || has_choice || has_limit
    }

    /// Whether a list is set, if only to nothing.
    pub(super) fn has(&self, list: PlaceList) -> bool {
        self.lists.iter().any(|(set, _)| *set == list)
    }

    /// The number of places that are stated.
    pub(super) fn size(&self) -> usize {
        self.lists.iter().map(|(_, places)| places.len()).sum()
    }

    /// The places for a rule with this `cwd`, in the order of the lists; of a path that a list has twice, the
    /// first, which may be absent if both may.
    pub(super) fn placed(&self, cwd: &Path) -> Vec<PlacedPath<'_>> {
        let mut placed: Vec<PlacedPath<'_>> = Vec::with_capacity(self.size());
        for (list, places) in &self.lists {
            let mut known = HashMap::<PathBuf, usize>::new();
            for stated in places {
                let place = stated.below(cwd);
                match known.get(&place.path) {
                    Some(&at) => placed[at].place.optional &= place.optional,
                    None => {
                        known.insert(place.path.clone(), placed.len());
                        placed.push(PlacedPath { list: *list, place, stated });
                    }
                }
            }
        }
        placed
    }

    /// The confinement with these places.
    pub(super) fn confinement(&self, profile: &str, placed: &[PlacedPath<'_>]) -> Confinement {
        let of = |list: PlaceList| -> Option<Vec<ConfinedPath>> {
            let places = placed.iter().filter(|placed| placed.list == list);
            self.has(list).then(|| places.map(|placed| placed.place.clone()).collect())
        };
        let limits = self.limits.iter().filter(|(_, most)| *most != u64::MAX);
        Confinement {
            profile: profile.into(),
            read: of(PlaceList::Read),
            write: of(PlaceList::Write),
            exec: of(PlaceList::Exec),
            hide: of(PlaceList::Hide).unwrap_or_default(),
            protect: of(PlaceList::Protect).unwrap_or_default(),
            net: self.net.clone().unwrap_or(NetAccess::Any),
            unix: match self.unix {
                None | Some(SocketScope::Any) => UnixAccess::Any,
                Some(SocketScope::None) => UnixAccess::None,
                Some(SocketScope::Listed) => UnixAccess::Paths(of(PlaceList::Sockets).unwrap_or_default()),
            },
            syscalls: self.syscalls.unwrap_or(SyscallSet::Any),
            tmp: self.tmp(),
            on_missing: self.on_missing.unwrap_or(OnMissing::Refuse),
            limits: limits.copied().collect(),
        }
    }

    /// The directories for temporary files.
    pub(super) fn tmp(&self) -> TmpAccess {
        self.tmp.unwrap_or(TmpAccess::Shared)
    }
}
