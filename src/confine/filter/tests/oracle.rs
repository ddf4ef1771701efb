//! The same verdicts, compiled by the crate `seccompiler`: its program and ours are interpreted with the same
//! calls. It has one outcome for all matches of a filter, so each errno is compared alone.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::machine::MachineInstruction;
use super::*;
use crate::confine::filter::number_ranges;
use crate::confine::filter::verdict::{ArgumentSwitch, ArgumentWord, SyscallVerdict};

/// What must hold of the arguments, all of it.
type Conjunction = Vec<SeccompCondition>;

/// The ways to an errno, each with its conditions.
fn ways(verdict: &SyscallVerdict, errno: u16) -> Vec<Conjunction> {
    match verdict {
        SyscallVerdict::Allow => Vec::new(),
        SyscallVerdict::Refuse(own) => {
            if *own == errno {
                vec![Vec::new()]
            } else {
                Vec::new()
            }
        }
        SyscallVerdict::Inspect(switch) => switch_ways(switch, errno),
    }
}

fn switch_ways(switch: &ArgumentSwitch, errno: u16) -> Vec<Conjunction> {
    let mut all = Vec::new();
    for (values, verdict) in &switch.cases {
        for value in values {
            let equal = vec![masked(switch.word, switch.mask, *value)];
            all.extend(ways(verdict, errno).into_iter().map(|rest| [equal.clone(), rest].concat()));
        }
    }
    let named: Vec<u32> = switch.cases.iter().flat_map(|(values, _)| values.clone()).collect();
    let others = other_values(switch, &named);
    for rest in ways(&switch.otherwise, errno) {
        all.extend(others.iter().map(|other| [other.clone(), rest.clone()].concat()));
    }
    all
}

/// The ways in which a word is none of these values.
fn other_values(switch: &ArgumentSwitch, named: &[u32]) -> Vec<Conjunction> {
    let (word, mask) = (switch.word, switch.mask);
    if named == [0] && (mask != u32::MAX || matches!(word, ArgumentWord::High(_))) {
        let bits = (0..32).map(|bit| 1 << bit).filter(|bit| mask & bit != 0);
        return bits.map(|bit| vec![masked(word, bit, bit)]).collect();
    }
    if mask == u32::MAX {
        let ArgumentWord::Low(index) = word else { panic!("a high word is compared with 0 alone") };
        let unequal = |value: &u32| {
            SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, u64::from(*value))
        };
        return vec![named.iter().map(unequal).map(|condition| condition.expect("an argument")).collect()];
    }
    let values = (0..=u8::MAX).map(|value| u32::from(value) << mask.trailing_zeros());
    let values = values.filter(|value| value & !mask == 0 && !named.contains(value));
    values.map(|value| vec![masked(word, mask, value)]).collect()
}

fn masked(word: ArgumentWord, mask: u32, value: u32) -> SeccompCondition {
    let (index, len, shift) = match word {
        ArgumentWord::Low(index) => (index, SeccompCmpArgLen::Dword, 0),
        ArgumentWord::High(index) => (index, SeccompCmpArgLen::Qword, 32),
    };
    let operation = SeccompCmpOp::MaskedEq(u64::from(mask) << shift);
    SeccompCondition::new(index, len, operation, u64::from(value) << shift).expect("an argument")
}

/// `seccompiler`'s program for one errno of these ranges.
fn oracle(ranges: &[(u32, SyscallVerdict)], errno: u16) -> FilterMachine {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for number in 0..600 {
        let (_, verdict) = ranges.iter().rfind(|(start, _)| *start <= number).expect("all are covered");
        let ways = ways(verdict, errno);
        if ways.iter().any(Vec::is_empty) {
            rules.insert(number.into(), Vec::new());
        } else if !ways.is_empty() {
            let ways = ways.into_iter().map(|way| SeccompRule::new(way).expect("conditions"));
            rules.insert(number.into(), ways.collect());
        }
    }
    let arch = if cfg!(target_arch = "x86_64") { TargetArch::x86_64 } else { TargetArch::aarch64 };
    let action = SeccompAction::Errno(errno.into());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch).expect("a filter");
    let program = BpfProgram::try_from(filter).expect("a program");
    let instructions = program.iter().map(|instruction| MachineInstruction {
        code: instruction.code,
        jump_true: instruction.jt,
        jump_false: instruction.jf,
        operand: instruction.k,
    });
    FilterMachine { instructions: instructions.collect() }
}

/// Values that some filter compares with, and their neighbours.
const VALUES: [u64; 40] = [
    0,
    1,
    2,
    3,
    5,
    6,
    8,
    9,
    10,
    16,
    17,
    29,
    31,
    40,
    58,
    132,
    136,
    256,
    262,
    0x80,
    0x200,
    0x5401,
    0x5412,
    0x541c,
    0x5423,
    0x6602,
    0x4008_6602,
    0x8008_6601,
    0x801c_581f,
    0x4004_9409,
    0o20_000,
    0o60_644,
    0o100_644,
    0x2_0000,
    0x4_0000,
    0x1000_0000,
    0x2000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_1234_5678,
];

/// Arguments of a generator's choice, from these values, some with bits above an `int`.
fn some_arguments(state: &mut u64) -> [u64; 6] {
    [0; 6].map(|_: u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let value = VALUES[usize::try_from((*state >> 33) % 40).expect("small")];
        if (*state >> 20).is_multiple_of(8) { value | 0x5555_0000_0000 } else { value }
    })
}

#[test]
fn another_compiler_gives_the_same_verdicts() {
    let mut state = 15;
    for syscalls in [SyscallSet::Default, SyscallSet::Strict, SyscallSet::Any] {
        for net in [NetAccess::None, NetAccess::Tcp(vec![443]), NetAccess::Any] {
            for metadata in [MetadataCalls::Allowed, MetadataCalls::Refused] {
                let request = FilterRequest {
                    syscalls,
                    net: &net,
                    unix: &UnixAccess::None,
                    metadata,
                    memory_files: MemoryFiles::Executable,
                };
                compare(&request, &mut state);
            }
        }
    }
}

fn compare(request: &FilterRequest<'_>, state: &mut u64) {
    let ranges = number_ranges(request).expect("something is filtered");
    let own = FilterMachine::new(&syscall_filter(request).expect("something is filtered"));
    let errnos = [
        libc::EPERM,
        libc::ENOSYS,
        libc::EACCES,
        libc::ENOENT,
        libc::ENOTTY,
        libc::EAFNOSUPPORT,
        libc::EPROTONOSUPPORT,
        libc::ESOCKTNOSUPPORT,
        libc::EOPNOTSUPP,
    ];
    let oracles = errnos.map(|errno| (errno, oracle(&ranges, u16::try_from(errno).expect("an errno"))));
    for number in 0..600 {
        let (_, verdict) = ranges.iter().rfind(|(start, _)| *start <= number).expect("all are covered");
        let rounds = if matches!(verdict, SyscallVerdict::Inspect(_)) { 100 } else { 2 };
        let number = i64::from(number);
        for _ in 0..rounds {
            let arguments = some_arguments(state);
            let value = outcome(&own, number, arguments);
            for (errno, oracle) in &oracles {
                let want = outcome(oracle, number, arguments) == refused(*errno);
                assert_eq!(value == refused(*errno), want, "{request:?}: {number} {arguments:x?} {value:x}");
            }
        }
    }
}
