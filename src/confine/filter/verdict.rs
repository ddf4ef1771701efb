//! What becomes of a system call, and of its arguments. Arguments are compared as 32-bit words: the kernel
//! takes an `int` from the low word, whatever the high one holds.

/// The outcome of a system call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum SyscallVerdict {
    /// The kernel executes it.
    Allow,
    /// It fails with this errno.
    Refuse(u16),
    /// Its arguments decide.
    Inspect(Box<ArgumentSwitch>),
}

impl SyscallVerdict {
    /// The failure with an errno of the C library.
    pub(super) fn refuse(errno: i32) -> Self {
        Self::Refuse(u16::try_from(errno).expect("an errno is positive and below 4096"))
    }

    /// This verdict, and where it allows, the next one.
    pub(super) fn and(self, next: &Self) -> Self {
        match self {
            Self::Allow => next.clone(),
            Self::Refuse(errno) => Self::Refuse(errno),
            Self::Inspect(switch) => Self::Inspect(Box::new(switch.and(next))),
        }
    }
}

/// A choice by one word of one argument.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ArgumentSwitch {
    pub(super) word: ArgumentWord,
    /// The bits that are compared.
    pub(super) mask: u32,
    /// Values of these bits, and what they lead to.
    pub(super) cases: Vec<(Vec<u32>, SyscallVerdict)>,
    /// What other values lead to.
    pub(super) otherwise: SyscallVerdict,
}

/// A half of an argument, by the argument's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ArgumentWord {
    Low(u8),
    High(u8),
}

impl ArgumentSwitch {
    fn and(self, next: &SyscallVerdict) -> Self {
        let cases = self.cases.into_iter().map(|(values, verdict)| (values, verdict.and(next)));
        Self { cases: cases.collect(), otherwise: self.otherwise.and(next), ..self }
    }
}

/// A choice by an `int` argument: the verdicts of some values, and of the others.
pub(super) fn switch(
    argument: u8,
    cases: impl IntoIterator<Item = (Vec<u32>, SyscallVerdict)>,
    otherwise: SyscallVerdict,
) -> SyscallVerdict {
    let cases = cases.into_iter().collect();
    let word = ArgumentWord::Low(argument);
    SyscallVerdict::Inspect(Box::new(ArgumentSwitch { word, mask: u32::MAX, cases, otherwise }))
}

/// The same, by some bits of it.
pub(super) fn switch_bits(
    argument: u8,
    mask: u32,
    cases: impl IntoIterator<Item = (Vec<u32>, SyscallVerdict)>,
    otherwise: SyscallVerdict,
) -> SyscallVerdict {
    let cases = cases.into_iter().collect();
    let word = ArgumentWord::Low(argument);
    SyscallVerdict::Inspect(Box::new(ArgumentSwitch { word, mask, cases, otherwise }))
}

/// A refusal wherever an argument has one of these bits.
pub(super) fn refuse_bits(argument: u8, bits: u32, refusal: SyscallVerdict) -> SyscallVerdict {
    switch_bits(argument, bits, [(vec![0], SyscallVerdict::Allow)], refusal)
}

/// A refusal wherever a pointer argument is not null.
pub(super) fn refuse_pointer(argument: u8, refusal: SyscallVerdict) -> SyscallVerdict {
    let low = switch(argument, [(vec![0], SyscallVerdict::Allow)], refusal.clone());
    let word = ArgumentWord::High(argument);
    let cases = vec![(vec![0], low)];
    SyscallVerdict::Inspect(Box::new(ArgumentSwitch { word, mask: u32::MAX, cases, otherwise: refusal }))
}
