//! Filters as the kernel sees them: their programs are run here by an interpreter (`machine.rs`), over all
//! numbers and many arguments. `oracle.rs` compares them with another compiler's.

use crate::confine::filter::{FilterRequest, MemoryFiles, MetadataCalls, syscall_filter};
use crate::rules::{NetAccess, SyscallSet, UnixAccess};

mod arguments;
mod machine;
mod numbers;
mod oracle;
mod program;

use machine::{FilterMachine, SyscallData};

/// The kernel's `AUDIT_ARCH_` of this machine.
const OWN_ARCHITECTURE: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

const ALLOWED: u32 = 0x7fff_0000;
const KILLED: u32 = 0x8000_0000;

fn refused(errno: i32) -> u32 {
    0x0005_0000 | u32::try_from(errno).expect("an errno")
}

/// The machine for a filter.
fn machine(syscalls: SyscallSet, net: NetAccess, unix: UnixAccess, metadata: MetadataCalls) -> FilterMachine {
    let program = syscall_filter(&FilterRequest {
        syscalls,
        net: &net,
        unix: &unix,
        metadata,
        memory_files: MemoryFiles::Executable,
    });
    FilterMachine::new(&program.expect("something is filtered"))
}

/// The outcome of a call with these arguments on this architecture.
fn outcome(machine: &FilterMachine, number: i64, arguments: [u64; 6]) -> u32 {
    let number = u32::try_from(number).expect("a small number");
    machine.run(&SyscallData { number, architecture: OWN_ARCHITECTURE, arguments }).value
}

/// Every kind of filter, with its name.
fn all_machines() -> Vec<(String, FilterMachine)> {
    let nets = [NetAccess::None, NetAccess::Tcp(vec![443]), NetAccess::Any];
    let mut machines = Vec::new();
    for syscalls in [SyscallSet::Default, SyscallSet::Strict, SyscallSet::Any] {
        for net in &nets {
            for unix in [UnixAccess::None, UnixAccess::Any] {
                for metadata in [MetadataCalls::Allowed, MetadataCalls::Refused] {
                    let name = format!("{syscalls:?} {net:?} {unix:?} {metadata:?}");
                    let program = syscall_filter(&FilterRequest {
                        syscalls,
                        net,
                        unix: &unix,
                        metadata,
                        memory_files: MemoryFiles::Executable,
                    });
                    machines.extend(program.map(|program| (name, FilterMachine::new(&program))));
                }
            }
        }
    }
    machines
}
