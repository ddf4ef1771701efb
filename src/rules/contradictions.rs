//! Finds the places of a confinement that contradict each other: a place that is hidden and given, or
//! protected and written, or that an empty directory for temporary files stands on.

use std::collections::HashMap;
use std::path::Path;

use super::confinement::TmpAccess;
use super::fault::{RulesFault, SourceSpan};
use super::stated_confinement::{PlaceList, PlacedPath};

/// The directories that are empty with `tmp = private`.
pub(super) const TEMPORARY: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// The contradictions, each at the later one of its places, or at `blamed` if both are built in.
pub(super) fn contradictions(
    placed: &[PlacedPath<'_>],
    tmp: TmpAccess,
    blamed: SourceSpan,
) -> Vec<RulesFault> {
    let (hidden, protected) = (by_path(placed, PlaceList::Hide), by_path(placed, PlaceList::Protect));
    let mut faults = Vec::new();
    for given in placed {
        let is_given = given.list.gives_access() || given.list == PlaceList::Sockets;
        if let Some(over) = above(given, &hidden).filter(|_| is_given) {
            let help = "nothing of what is hidden can be used: take one of the two out";
            faults.push(clash(given, over, blamed).help(help));
        }
        if let Some(over) = above(given, &protected).filter(|_| given.list == PlaceList::Write) {
            let help = "nothing in a protected place can be written: take one of the two out";
            faults.push(clash(given, over, blamed).help(help));
        }
        let is_covered = tmp == TmpAccess::Private && is_temporary(&given.place.path);
        if is_covered && given.list.gives_access() {
            let (path, list) = (given.place.path.display(), given.list.key());
            let message =
                format!("{path} is in `{list}`, and `tmp = private` puts an empty one in its place");
            let fault = RulesFault::new(given.stated.span.unwrap_or(blamed), message);
            faults.push(fault.help(
                "leave this out: all can be done in the empty one; for the machine's, write `tmp = shared`",
            ));
        }
    }
    faults
}

/// The protected places that could not be written anyway, where a list says what can be written.
pub(super) fn idle_protections(placed: &[PlacedPath<'_>], blamed: SourceSpan) -> Vec<RulesFault> {
    let written = by_path(placed, PlaceList::Write);
    let is_idle =
        |placed: &&PlacedPath<'_>| placed.list == PlaceList::Protect && above(placed, &written).is_none();
    let fault = |placed: &PlacedPath<'_>| {
        let message = format!("`{}` lies in no place of `write`", placed.stated.shown());
        RulesFault::new(placed.stated.span.unwrap_or(blamed), message)
            .help("leave it out: what `write` does not name cannot be written")
    };
    placed.iter().filter(is_idle).map(fault).collect()
}

/// Whether `tmp = private` puts an empty directory there.
pub(super) fn is_temporary(path: &Path) -> bool {
    TEMPORARY.iter().any(|temporary| path == Path::new(temporary))
}

fn by_path<'p, 's>(placed: &'p [PlacedPath<'s>], list: PlaceList) -> HashMap<&'p Path, &'p PlacedPath<'s>> {
    let of_list = placed.iter().filter(|placed| placed.list == list);
    of_list.map(|placed| (&*placed.place.path, placed)).collect()
}

/// The nearest of these places in which `placed` lies, or that it is.
fn above<'p, 's>(
    placed: &PlacedPath<'_>,
    places: &HashMap<&Path, &'p PlacedPath<'s>>,
) -> Option<&'p PlacedPath<'s>> {
    if places.is_empty() {
        return None;
    }
    placed.place.path.ancestors().find_map(|path| places.get(path).copied())
}

/// The problem of a place that lies in one which takes it away.
fn clash(given: &PlacedPath<'_>, over: &PlacedPath<'_>, blamed: SourceSpan) -> RulesFault {
    let (shown, list, taking) = (given.stated.shown(), given.list.key(), over.list.key());
    let message = if given.place.path == over.place.path {
        format!("`{shown}` is in `{list}` and in `{taking}`")
    } else {
        format!("`{shown}` is in `{list}`, and lies in `{}`, which is in `{taking}`", over.stated.shown())
    };
    RulesFault::new(given.stated.span.max(over.stated.span).unwrap_or(blamed), message)
}
