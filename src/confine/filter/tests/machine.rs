//! An interpreter of the classic BPF that seccomp(2) takes. It accepts nothing that the kernel refuses: jumps
//! go forward and stay in the program, and loads are of whole words of the data.

/// `struct seccomp_data`, without the instruction pointer.
pub(super) struct SyscallData {
    pub(super) number: u32,
    pub(super) architecture: u32,
    pub(super) arguments: [u64; 6],
}

impl SyscallData {
    fn word(&self, offset: u32) -> u32 {
        let low = |value: u64| u32::try_from(value & 0xffff_ffff).expect("masked");
        match offset {
            0 => self.number,
            4 => self.architecture,
            16..64 if offset.is_multiple_of(4) => {
                let argument = self.arguments[usize::try_from((offset - 16) / 8).expect("small")];
                low(if offset.is_multiple_of(8) { argument } else { argument >> 32 })
            }
            _ => panic!("a load from {offset}"),
        }
    }
}

/// What a program returned, after how many instructions.
pub(super) struct FilterOutcome {
    pub(super) value: u32,
    pub(super) steps: usize,
}

#[derive(Clone, Copy)]
pub(super) struct MachineInstruction {
    pub(super) code: u16,
    pub(super) jump_true: u8,
    pub(super) jump_false: u8,
    pub(super) operand: u32,
}

pub(super) struct FilterMachine {
    pub(super) instructions: Vec<MachineInstruction>,
}

impl FilterMachine {
    pub(super) fn new(program: &[u8]) -> Self {
        assert!(program.len().is_multiple_of(8), "{} bytes", program.len());
        let instructions = program.chunks_exact(8).map(|bytes| MachineInstruction {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jump_true: bytes[2],
            jump_false: bytes[3],
            operand: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        });
        Self { instructions: instructions.collect() }
    }

    pub(super) fn run(&self, data: &SyscallData) -> FilterOutcome {
        let (mut at, mut steps, mut word) = (0_usize, 0_usize, 0_u32);
        loop {
            let instruction = self.instructions.get(at).expect("an instruction of the program");
            let operand = instruction.operand;
            steps += 1;
            at += 1;
            let mut choose = |is_true: bool| {
                at += usize::from(if is_true { instruction.jump_true } else { instruction.jump_false });
            };
            match instruction.code {
                0x20 => word = data.word(operand),
                0x54 => word &= operand,
                0x05 => at += usize::try_from(operand).expect("a short jump"),
                0x15 => choose(word == operand),
                0x25 => choose(word > operand),
                0x35 => choose(word >= operand),
                0x06 => return FilterOutcome { value: operand, steps },
                code => panic!("the instruction {code:#x}"),
            }
        }
    }
}
