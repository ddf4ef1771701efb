//! Verdicts to a program for the kernel's classic BPF: a test of the architecture, a search tree over ranges
//! of numbers, and the tests of arguments. Jumps go forward, and conditional ones at most 255 instructions;
//! so the program is made from its end: what a jump leads to is there before it, and what is too far away
//! gets a copy or a step in between.

use std::collections::HashMap;

use super::verdict::{ArgumentSwitch, ArgumentWord, SyscallVerdict};

/// Bytes of `struct sock_filter`.
const INSTRUCTION_BYTES: usize = 8;

/// Offsets in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;
const ARGUMENTS_OFFSET: u32 = 16;

/// The offset of a 64-bit argument's low word: both architectures are little-endian.
const LOW_WORD_OFFSET: u32 = 0;
const HIGH_WORD_OFFSET: u32 = 4;

/// `AUDIT_ARCH_X86_64`
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;

/// `AUDIT_ARCH_AARCH64`
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("filters of system calls are made for x86-64 and aarch64");

/// The longest conditional jump, less the two instructions that may be put before it.
const NEAR_JUMP_MAX: usize = 250;

/// An opcode: its class, its size or source, and its operation.
#[derive(Clone, Copy)]
enum OpCode {
    LoadWord = 0x20,
    And = 0x54,
    Jump = 0x05,
    JumpIfEqual = 0x15,
    JumpIfAtLeast = 0x35,
    Return = 0x06,
}

/// `struct sock_filter`.
#[derive(Clone, Copy)]
struct FilterInstruction {
    code: OpCode,
    jump_true: u8,
    jump_false: u8,
    operand: u32,
}

impl FilterInstruction {
    fn plain(code: OpCode, operand: u32) -> Self {
        Self { code, jump_true: 0, jump_false: 0, operand }
    }

    fn bytes(self) -> [u8; INSTRUCTION_BYTES] {
        let [code_0, code_1] = (self.code as u16).to_ne_bytes();
        let [operand_0, operand_1, operand_2, operand_3] = self.operand.to_ne_bytes();
        [code_0, code_1, self.jump_true, self.jump_false, operand_0, operand_1, operand_2, operand_3]
    }
}

/// The first of a range of numbers that ends where the next begins, and the range's verdict.
pub(super) type NumberRange = (u32, SyscallVerdict);

/// The program for these ranges, which begin with 0 and cover all numbers.
pub(super) fn filter_program(ranges: &[NumberRange]) -> Vec<u8> {
    let mut program = BackwardProgram::default();
    let tree = program.tree(ranges);
    program.fall_to(tree);
    program.plain(OpCode::LoadWord, NUMBER_OFFSET);
    let own = program.here();
    let foreign = program.plain(OpCode::Return, libc::SECCOMP_RET_KILL_PROCESS);
    program.branch(OpCode::JumpIfEqual, ARCHITECTURE, own, foreign);
    program.plain(OpCode::LoadWord, ARCHITECTURE_OFFSET);
    program.bytes()
}

/// A program from its last instruction to its first, and where its ends can be found.
#[derive(Default)]
struct BackwardProgram {
    instructions: Vec<FilterInstruction>,
    /// The nearest copy of each verdict.
    verdicts: HashMap<SyscallVerdict, Place>,
}

/// An instruction, by how many there are from it to the program's end.
type Place = usize;

impl BackwardProgram {
    /// The instruction that was made last.
    fn here(&self) -> Place {
        self.instructions.len()
    }

    fn plain(&mut self, code: OpCode, operand: u32) -> Place {
        self.instructions.push(FilterInstruction::plain(code, operand));
        self.here()
    }

    /// How many instructions a jump that is made now passes on its way to a place.
    fn distance(&self, place: Place) -> usize {
        self.here() - place
    }

    /// A place with this verdict: of a refusal a near one, as another costs one instruction.
    fn verdict(&mut self, verdict: &SyscallVerdict) -> Place {
        let is_inspected = matches!(verdict, SyscallVerdict::Inspect(_));
        if let Some(place) = self.verdicts.get(verdict).copied()
            && (is_inspected || self.distance(place) <= NEAR_JUMP_MAX)
        {
            return place;
        }
        let place = match verdict {
            SyscallVerdict::Allow => self.plain(OpCode::Return, libc::SECCOMP_RET_ALLOW),
            SyscallVerdict::Refuse(errno) => {
                self.plain(OpCode::Return, libc::SECCOMP_RET_ERRNO | u32::from(*errno))
            }
            SyscallVerdict::Inspect(switch) => self.switch(switch),
        };
        self.verdicts.insert(verdict.clone(), place);
        place
    }

    /// The tests of one word, one value after the other.
    fn switch(&mut self, switch: &ArgumentSwitch) -> Place {
        let mut next = self.verdict(&switch.otherwise);
        for (values, verdict) in switch.cases.iter().rev() {
            for value in values.iter().rev() {
                let then = self.verdict(verdict);
                next = self.branch(OpCode::JumpIfEqual, *value, then, next);
            }
        }
        self.fall_to(next);
        if switch.mask != u32::MAX {
            self.plain(OpCode::And, switch.mask);
        }
        self.plain(OpCode::LoadWord, offset(switch.word))
    }

    /// The search among ranges, of which there is at least one.
    fn tree(&mut self, ranges: &[NumberRange]) -> Place {
        match ranges {
            [] => self.here(),
            [(_, verdict)] => self.verdict(verdict),
            [(_, outer), (single, inner), (after, last)] if outer == last && single + 1 == *after => {
                let (then, otherwise) = (self.verdict(inner), self.verdict(outer));
                self.branch(OpCode::JumpIfEqual, *single, then, otherwise)
            }
            _ => {
                let (below, above) = ranges.split_at(middle(ranges.len()));
                let then = self.tree(above);
                let otherwise = self.tree(below);
                self.branch(OpCode::JumpIfAtLeast, above[0].0, then, otherwise)
            }
        }
    }

    /// A conditional jump to two places, each with a step in between where it is too far away.
    fn branch(&mut self, code: OpCode, operand: u32, then: Place, otherwise: Place) -> Place {
        let then = self.near(then);
        let otherwise = self.near(otherwise);
        let [jump_true, jump_false] = [then, otherwise]
            .map(|place| u8::try_from(self.distance(place)).expect("a place that was brought near"));
        self.instructions.push(FilterInstruction { code, jump_true, jump_false, operand });
        self.here()
    }

    fn near(&mut self, place: Place) -> Place {
        if self.distance(place) <= NEAR_JUMP_MAX { place } else { self.jump(place) }
    }

    /// Whatever is made next continues at this place.
    fn fall_to(&mut self, place: Place) {
        if self.distance(place) > 0 {
            self.jump(place);
        }
    }

    fn jump(&mut self, place: Place) -> Place {
        let distance = u32::try_from(self.distance(place)).expect("a program has at most 4096 instructions");
        self.plain(OpCode::Jump, distance)
    }

    fn bytes(self) -> Vec<u8> {
        self.instructions.into_iter().rev().flat_map(FilterInstruction::bytes).collect()
    }
}

fn offset(word: ArgumentWord) -> u32 {
    match word {
        ArgumentWord::Low(index) => ARGUMENTS_OFFSET + 8 * u32::from(index) + LOW_WORD_OFFSET,
        ArgumentWord::High(index) => ARGUMENTS_OFFSET + 8 * u32::from(index) + HIGH_WORD_OFFSET,
    }
}

/// Where ranges are parted: an odd number on each side where it can be, as three can be told apart by one
/// test.
fn middle(len: usize) -> usize {
    let half = len / 2;
    if half.is_multiple_of(2) && half + 1 < len { half + 1 } else { half }
}
