//! The steps that change a command's view of the file system, in a mount namespace of its own: what Landlock
//! cannot do. All but its writable places becomes read-only, so that the modes and times of other files stay
//! as they are; what is not to be executed is on a mount that executes nothing, so that a program loader does
//! not help either; `/tmp` becomes empty; places are covered, or protected where they lie in writable ones.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::rules::{ConfinedPath, Confinement, TmpAccess, UnixAccess};

use super::access::{FoundPlaces, GrantedPlace};
use super::parts::SOCKET_PATH_ABI;
use super::place::{OpenedPlace, PlaceKind};
use super::step::ViewStep;

/// The directories that `tmp = private` makes private, as far as they are there.
const TEMPORARIES: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// The directories of the root directory that hold the system's programs and no user's socket: where a
/// profile names sockets, every other one is covered.
const SYSTEM_PLACES: [&str; 11] =
    ["bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "sys"];

/// Directories below those that hold the system's programs, or below a covered one that is made private.
const OTHER_SOCKET_PLACES: [&str; 4] = ["/usr/local", "/tmp", "/var/tmp", "/dev/shm"];

/// A view: the steps to it, and the private directory for temporary files.
#[derive(Debug, Default)]
pub(super) struct CommandView {
    pub(super) steps: Vec<CString>,
    /// The first of the private directories, which all show the same files.
    pub(super) temporary: Option<CString>,
    /// Whether what is written there can be executed.
    pub(super) is_executable: bool,
}

/// The view of a confinement with these places.
pub(super) fn view(wanted: &Confinement, found: &FoundPlaces, abi: u32) -> CommandView {
    let is_executable = wanted.exec.is_none() || executes_what_it_writes(found);
    let temporaries: Vec<PathBuf> =
        if wanted.tmp == TmpAccess::Private { directories(&TEMPORARIES) } else { Vec::new() };
    let names_sockets = matches!(wanted.unix, UnixAccess::Paths(_)) && abi < SOCKET_PATH_ABI;
    let blanks: Vec<PathBuf> = if names_sockets { blanks(found, &temporaries) } else { Vec::new() };
    let covers = Covers { temporaries, blanks };
    let mut steps = ViewSteps { steps: Vec::new() };
    let kept: Vec<_> = found.granted.iter().filter(|place| covers.hide(place)).collect();
    kept.iter().for_each(|granted| steps.push(ViewStep::Keep, &granted.place.path));
    if wanted.write.is_some() {
        steps.push(ViewStep::AllReadOnly, Path::new("/"));
    }
    covers.cover(is_executable, &mut steps);
    for granted in &kept {
        let is_inside = kept
            .iter()
            .any(|other| granted.place.path != other.place.path && granted.is_below(&other.place.path));
        steps.put(granted, &covers, wanted, is_inside);
    }
    steps.open_writable(found, &covers, wanted);
    for place in &wanted.protect {
        let step = if place.optional { ViewStep::Protect } else { ViewStep::ProtectThere };
        steps.take_away(step, place, found);
    }
    for place in &found.hidden {
        let step = if place.optional { ViewStep::Hide } else { ViewStep::HideThere };
        steps.take_away(step, place, found);
    }
    let temporary = covers.temporaries.first().map(|path| text(b"", path));
    CommandView { steps: steps.steps, temporary, is_executable }
}

/// Whether some place can be written and executed.
pub(super) fn executes_what_it_writes(found: &FoundPlaces) -> bool {
    let executed = |written: &GrantedPlace| {
        let above = |other: &&GrantedPlace| other.access.exec && written.is_below(&other.place.path);
        found.granted.iter().any(|other| above(&other))
    };
    found.granted.iter().any(|granted| granted.is_written() && executed(granted))
}

fn directories(of: &[&str]) -> Vec<PathBuf> {
    let is_directory = |path: &&str| {
        let place = OpenedPlace::open(Path::new(path));
        place.is_ok_and(|place| place.kind == PlaceKind::Directory && place.path == Path::new(path))
    };
    of.iter().copied().filter(is_directory).map(PathBuf::from).collect()
}

/// The directories to cover where sockets are named: those without a granted place at or above them, and none
/// below another.
fn blanks(found: &FoundPlaces, temporaries: &[PathBuf]) -> Vec<PathBuf> {
    let mut blanks: Vec<PathBuf> = Vec::new();
    for directory in socket_places() {
        let is_granted = found.granted.iter().any(|granted| directory.starts_with(&granted.place.path));
        let is_covered = blanks.iter().chain(temporaries).any(|cover| directory.starts_with(cover));
        if !is_granted && !is_covered {
            blanks.push(directory);
        }
    }
    blanks
}

/// The directories in which sockets may lie.
fn socket_places() -> Vec<PathBuf> {
    let is_other = |name: &str| name != "usr" && !SYSTEM_PLACES.contains(&name);
    let top = fs::read_dir("/").into_iter().flatten().flatten();
    let top = top.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_other(name));
    let mut names: Vec<_> = top.map(|name| format!("/{name}")).collect();
    names.sort_unstable();
    names.extend(OTHER_SOCKET_PLACES.map(str::to_owned));
    directories(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The directories that are covered by empty ones.
struct Covers {
    temporaries: Vec<PathBuf>,
    blanks: Vec<PathBuf>,
}

impl Covers {
    /// Whether a place would no longer be seen.
    fn hide(&self, granted: &GrantedPlace) -> bool {
        self.over(&granted.place.path).is_some()
    }

    /// The directory that covers a path below it, or at it.
    fn over(&self, path: &Path) -> Option<&Path> {
        let all = self.temporaries.iter().chain(&self.blanks);
        all.filter(|cover| path.starts_with(cover))
            .map(PathBuf::as_path)
            .max_by_key(|path| path.as_os_str().len())
    }

    fn cover(&self, is_executable: bool, steps: &mut ViewSteps) {
        self.blanks.iter().for_each(|blank| steps.push(ViewStep::Blank, blank));
        let first = if is_executable { ViewStep::Temporary } else { ViewStep::TemporaryData };
        for (place, step) in
            self.temporaries.iter().zip([first].into_iter().chain(std::iter::repeat(ViewStep::TemporaryToo)))
        {
            // A blank directory above it is empty.
            if self.blanks.iter().any(|blank| place.starts_with(blank)) {
                steps.push(ViewStep::Directory, place);
            }
            steps.push(step, place);
        }
    }
}

struct ViewSteps {
    steps: Vec<CString>,
}

impl ViewSteps {
    fn push(&mut self, step: ViewStep, place: &Path) {
        self.steps.push(text(&[step as u8], place));
    }

    /// Puts a kept place back below the directory that covers it. One inside of another is there already:
    /// nothing is made in a tree that is a caller's.
    fn put(&mut self, granted: &GrantedPlace, covers: &Covers, wanted: &Confinement, is_inside: bool) {
        let path = &granted.place.path;
        let Some(cover) = covers.over(path).filter(|_| !is_inside) else {
            return self.push(put_step(granted, wanted), path);
        };
        let above: Vec<_> = path.ancestors().skip(1).take_while(|above| above.starts_with(cover)).collect();
        above
            .iter()
            .rev()
            .filter(|above| **above != cover)
            .for_each(|above| self.push(ViewStep::Directory, above));
        if path != cover {
            let is_directory = granted.place.kind == PlaceKind::Directory;
            self.push(if is_directory { ViewStep::Directory } else { ViewStep::EmptyRegular }, path);
        }
        self.push(put_step(granted, wanted), path);
    }

    /// Makes the writable places writable that no directory covers, and what can be executed in them.
    fn open_writable(&mut self, found: &FoundPlaces, covers: &Covers, wanted: &Confinement) {
        if wanted.write.is_none() {
            return;
        }
        let above = |path: &Path| {
            let above = |granted: &&GrantedPlace| granted.is_written() && granted.place.path != path;
            found.granted.iter().filter(above).any(|granted| path.starts_with(&granted.place.path))
        };
        for granted in &found.granted {
            let path = &granted.place.path;
            let executes = wanted.exec.is_none() || is_executable(found, path);
            let is_inside = above(path);
            if granted.is_written() && !is_inside && !covers.hide(granted) {
                self.push(if executes { ViewStep::Writable } else { ViewStep::Data }, path);
            } else if is_inside && granted.access.exec {
                self.push(ViewStep::Executable, path);
            }
        }
    }

    /// Protects or hides a place, and pins the directories between it and the writable place that it is in:
    /// who could rename one of them would be rid of it.
    fn take_away(&mut self, step: ViewStep, place: &ConfinedPath, found: &FoundPlaces) {
        let written = found.granted.iter().filter(|granted| granted.is_written());
        let over =
            written.map(|granted| granted.place.path.as_path()).filter(|over| place.path.starts_with(over));
        if let Some(top) = over.min_by_key(|over| over.as_os_str().len()) {
            let between = place.path.ancestors().skip(1).take_while(|above| *above != top);
            let between: Vec<_> = between.collect();
            between.iter().rev().for_each(|above| self.push(ViewStep::Pin, above));
        }
        self.push(step, &place.path);
    }
}

/// The step that puts a kept place back.
fn put_step(granted: &GrantedPlace, wanted: &Confinement) -> ViewStep {
    match () {
        () if wanted.write.is_some() && !granted.access.write => ViewStep::PutReadOnly,
        () if wanted.exec.is_none() || granted.access.exec => ViewStep::PutWritable,
        () => ViewStep::PutData,
    }
}

/// Whether a place lies at or below one that can be executed.
fn is_executable(found: &FoundPlaces, path: &Path) -> bool {
    found.granted.iter().any(|granted| granted.access.exec && path.starts_with(&granted.place.path))
}

fn text(before: &[u8], path: &Path) -> CString {
    CString::new([before, path.as_os_str().as_bytes()].concat()).expect("paths from rules hold no NUL")
}

#[cfg(test)]
mod tests {
    use crate::rules::{NetAccess, OnMissing, SyscallSet};

    use super::*;

    fn place(path: &Path) -> ConfinedPath {
        ConfinedPath { path: path.into(), optional: false }
    }

    /// A confinement that writes `write` and executes `exec`.
    fn wanted(write: &[&Path], exec: &[&Path], tmp: TmpAccess) -> Confinement {
        let places = |paths: &[&Path]| Some(paths.iter().map(|path| place(path)).collect());
        Confinement {
            profile: "p".into(),
            read: places(&[Path::new("/usr")]),
            write: places(write),
            exec: places(exec),
            hide: Vec::new(),
            protect: Vec::new(),
            net: NetAccess::None,
            unix: UnixAccess::None,
            syscalls: SyscallSet::Default,
            tmp,
            on_missing: OnMissing::Refuse,
            limits: Vec::new(),
        }
    }

    /// The steps, without those of directories for temporary files that a machine may lack.
    fn steps(wanted: &Confinement, abi: u32) -> Vec<String> {
        let found = FoundPlaces::find(wanted).expect("places");
        let steps = view(wanted, &found, abi).steps;
        let texts = steps.iter().map(|step| step.to_string_lossy().into_owned());
        texts.filter(|step| !step.starts_with('a')).collect()
    }

    /// A tree in a directory that is not covered, and one in `/tmp`.
    fn trees() -> [tempfile::TempDir; 2] {
        ["/opt", "/tmp"].map(|above| {
            let tree =
                tempfile::tempdir_in(above).or_else(|_| tempfile::tempdir_in("/var/tmp")).expect("a tree");
            std::fs::create_dir_all(tree.path().join("a/b")).expect("directories");
            tree
        })
    }

    #[test]
    fn a_writable_place_is_writable_and_all_else_is_not() {
        let [tree, _] = trees();
        let (top, inner) = (tree.path(), tree.path().join("a"));
        let shared = |exec: &[&Path]| steps(&wanted(&[top], exec, TmpAccess::Shared), 7);
        assert_eq!(shared(&[]), ["r/".into(), format!("n{}", top.display())]);
        assert_eq!(shared(&[top]), ["r/".into(), format!("w{}", top.display())]);
        let executed = format!("x{}", inner.display());
        assert_eq!(shared(&[&inner]), ["r/".into(), format!("n{}", top.display()), executed]);
    }

    #[test]
    fn a_place_in_a_private_directory_comes_back_there() {
        let [_, tree] = trees();
        let top = tree.path();
        let shown = top.display();
        let private = steps(&wanted(&[top], &[top], TmpAccess::Private), 7);
        assert_eq!(
            private,
            [format!("k{shown}"), "r/".into(), "t/tmp".into(), format!("d{shown}"), format!("2{shown}")]
        );
        let data = steps(&wanted(&[top], &[], TmpAccess::Private), 7);
        assert_eq!(data.last(), Some(&format!("3{shown}")));
        assert!(data.contains(&"T/tmp".into()), "{data:?}");
    }

    #[test]
    fn nothing_is_made_in_a_tree_that_comes_back() {
        let [_, tree] = trees();
        let (top, inner) = (tree.path(), tree.path().join("a"));
        let nested = steps(&wanted(&[top], &[&inner], TmpAccess::Private), 7);
        assert!(nested.contains(&format!("d{}", top.display())), "{nested:?}");
        assert!(!nested.contains(&format!("d{}", inner.display())), "{nested:?}");
        assert!(nested.contains(&format!("1{}", inner.display())), "{nested:?}");
    }

    #[test]
    fn what_is_taken_away_is_pinned_up_to_the_writable_place() {
        let [tree, _] = trees();
        let top = tree.path();
        let deep = top.join("a/b/c");
        std::fs::create_dir(&deep).expect("a directory");
        std::fs::create_dir(top.join("h")).expect("a directory");
        let mut wanted = wanted(&[top], &[], TmpAccess::Shared);
        wanted.protect = vec![place(&deep)];
        wanted.hide = vec![place(&top.join("h")), place(Path::new("/srv"))];
        let at = |step: char, path: &Path| format!("{step}{}", path.display());
        let taken =
            [at('b', &top.join("a")), at('b', &top.join("a/b")), at('L', &deep), at('H', &top.join("h"))];
        assert_eq!(steps(&wanted, 7)[2..6], taken);
        assert_eq!(steps(&wanted, 7)[6..], ["H/srv"]);
    }

    #[test]
    fn where_sockets_are_named_other_directories_are_covered() {
        let [tree, _] = trees();
        let top = tree.path();
        let mut wanted = wanted(&[top], &[], TmpAccess::Private);
        wanted.unix = UnixAccess::Paths(vec![place(Path::new("/run"))]);
        let named = steps(&wanted, 7);
        assert!(named.contains(&"m/home".into()) && !named.contains(&"m/run".into()), "{named:?}");
        assert!(!steps(&wanted, SOCKET_PATH_ABI).iter().any(|step| step.starts_with('m')));
    }
}
