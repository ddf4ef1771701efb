//! What a command may do to the slot that it is in, to outlive its call or to meet the next one.

/// What each of these scripts begins with: its own group, its slot, the slots beside it, and words by which
/// it says what it has left (`pid`) and which slots can no longer be used (`dirty`). The effect of a signal
/// comes later than its sending: `sent` waits for it.
const BEGINNING: &str = r#"
me=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup); scope=${me%/*}; slice=${scope%/*}; number=${me##*call-}
left() { setsid sleep 1000 </dev/null >/dev/null 2>&1 & p=$!; echo "pid $p"; }
put() { echo "$p" >"$1/cgroup.procs"; }
dirty() { echo "dirty ${1:-$scope}"; }
write() { [ -e "$scope/$1" ] && echo "$2" >"$scope/$1" && dirty; }
anchor() { read -r a <"${1:-$scope}/anchor/cgroup.procs"; }
state() { read -r _ _ state _ <"/proc/$a/stat" || state=X; echo $state; }
sent() { kill "-$1" "$a" || return; i=0; until [ "$(state)" = "$2" ] || [ $i = 100 ]; do sleep .01; i=$((i + 1)); done; }
beside() { for s in "$slice"/*.scope; do [ "$s" = "$scope" ] || "$@"; done; }
exec 2>/dev/null
echo "own $me"
"#;

/// What stays within the slot: each with a name, in the shell's words.
pub(super) const IN_THE_SLOT: [(&str, &str); 38] = [
    ("a daemon", "left"),
    ("a daemon's daemon", "( (left) & ) & wait"),
    ("daemons that hear no SIGTERM", "trap '' TERM; left; left; left"),
    ("a stopped process", "left; kill -STOP $p"),
    ("a group below", "mkdir $me/a $me/a/b; left; put $me/a/b"),
    ("empty groups below", "mkdir -p $me/a/b/c $me/d"),
    (
        "groups below whose path is too long to be named",
        "left; cd $me; n=$(printf %240s | tr ' ' x)
         for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do mkdir $n; cd -P $n; done; mkdir -p $n/$n",
    ),
    ("a group whose name is no text", r"n=$me/$(printf '\377'); mkdir $n; left; put $n"),
    (
        "its own group a threaded one",
        "echo -memory >$scope/cgroup.subtree_control && dirty; anchor; p=$a; put $scope && dirty
         left; l=$p; put $scope; p=$$; put $scope; echo threaded >$me/cgroup.type; p=$l; put $me",
    ),
    ("a process in the scope itself", "left; put $scope && dirty"),
    ("a process in the anchor's group", "left; put $scope/anchor && dirty"),
    ("itself in the anchor's group", "p=$$; put $scope/anchor && dirty; left"),
    ("itself in the scope", "p=$$; put $scope && dirty; left"),
    ("a group beside the call's", "mkdir $scope/x && dirty; left; put $scope/x"),
    ("an empty group beside the call's", "mkdir $scope/x && dirty"),
    ("a group below the anchor's", "mkdir $scope/anchor/x && dirty; left; put $scope/anchor/x"),
    ("an empty group below the anchor's", "mkdir $scope/anchor/x && dirty"),
    (
        "the next groups",
        "for i in 1 2 3 4 5; do mkdir $scope/call-$((number + i)) && dirty; left; put $scope/call-$((number + i)); done",
    ),
    ("the next groups, empty", "for i in 1 2 3 4 5; do mkdir $scope/call-$((number + i)) && dirty; done"),
    ("the anchor in the call's group", "anchor; p=$a; put $me && dirty; left"),
    ("the anchor in the scope", "anchor; p=$a; put $scope && dirty"),
    ("the anchor stopped", "anchor; sent STOP T && dirty; left"),
    ("the anchor killed", "anchor; sent KILL X && dirty; left"),
    ("the anchor told to end", "anchor; sent TERM S && sleep .05 && dirty; left"),
    ("the anchor sent signals", "anchor; kill -HUP $a; kill -INT $a; kill -USR1 $a; kill -CONT $a; left"),
    ("the anchor frozen", "echo 1 >$scope/anchor/cgroup.freeze && dirty; left"),
    ("fewer groups", "write cgroup.max.descendants 2"),
    ("no deeper groups", "write cgroup.max.depth 1"),
    (
        "controllers",
        "for c in +memory +pids +cpu -memory -pids -cpu; do write cgroup.subtree_control $c; done",
    ),
    ("less memory", "write memory.max 64M; write memory.high 32M"),
    ("few tasks", "write pids.max 3"),
    ("less of a processor", "write cpu.max '1000 100000'; write cpu.weight 1"),
    ("a limit taken back", "write cgroup.max.descendants 2; write cgroup.max.descendants max"),
    (
        "a limit that the manager sets",
        "XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user set-property --runtime ${scope##*/} TasksMax=77
         read -r max <$scope/pids.max && [ $max = 77 ] && dirty",
    ),
    ("the modes of the scope's files", "left; chmod 000 $scope/cgroup.* && dirty"),
    ("the mode of a file that tells of events", "chmod 000 $scope/cgroup.events && dirty"),
    ("the modes of the anchor's files", "left; chmod 000 $scope/anchor/cgroup.* && dirty"),
    ("the modes of its own files", "left; chmod 000 $me/*"),
];

/// What reaches into slots beside it.
pub(super) const BESIDE_THE_SLOT: [(&str, &str); 11] = [
    ("processes in others' anchors' groups", "one() { left; put $s/anchor; }; beside one"),
    (
        "processes in others' calls' groups",
        "one() { for g in $s/call-*; do left; put $g; done; }; beside one",
    ),
    ("processes in others", "one() { left; put $s; }; beside one"),
    ("groups in others", "one() { mkdir $s/x && dirty $s; left; put $s/x; }; beside one"),
    (
        "groups in others' calls' groups",
        "one() { for g in $s/call-*; do mkdir $g/x; left; put $g/x; done; }; beside one",
    ),
    ("others' anchors killed", "one() { anchor $s; sent KILL X && dirty $s; }; beside one"),
    ("others' anchors told to end", "one() { anchor $s; sent TERM S && sleep .05 && dirty $s; }; beside one"),
    (
        "others' launchers killed",
        "one() { while read -r l; do kill -KILL $l; done <$(echo $s/call-*)/cgroup.procs; }; beside one",
    ),
    ("others frozen", "one() { echo 1 >$s/cgroup.freeze && dirty $s; }; beside one"),
    ("others with fewer groups", "one() { echo 1 >$s/cgroup.max.descendants && dirty $s; }; beside one"),
    ("itself in another", "p=$$; for s in $slice/*.scope; do [ $s = $scope ] || put $s/anchor; done; left"),
];

/// A script that does this.
pub(super) fn script(what: &str) -> String {
    format!("{BEGINNING}{what}\nexit 0")
}

/// A script that tells what it finds in its slot: its own pid, then each process and group that is there, and
/// what the scope's files hold and who may read them.
pub(super) fn look() -> String {
    let look = r#"
        cd "$scope" || exit
        echo "self $$"
        for f in cgroup.procs */cgroup.procs */*/cgroup.procs; do
            [ ! -e "$f" ] || while read -r p; do read -r n <"/proc/$p/comm"; echo "process $p $n ${f%cgroup.procs}"; done <"$f"
        done
        for d in */ */*/; do [ ! -d "$d" ] || echo "group $d"; done
        for f in cgroup.freeze cgroup.max.* cgroup.subtree_control memory.max memory.high pids.max cpu.max cpu.weight; do
            [ ! -e "$f" ] || { read -r v <"$f"; echo "file $f $v"; }
        done
        stat -c 'mode %a %n' . cgroup.* anchor anchor/cgroup.*
        sleep .05"#;
    format!("{BEGINNING}{look}")
}
