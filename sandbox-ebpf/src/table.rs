//! The tables of policies: which one is in force for a task, and what its header says.

use core::mem::offset_of;

use ringfence_abi::{
    network::SNI_REQUIRED,
    policy::{Header, Label, MODE_ENFORCE, NO_TABLE, Table},
    rights,
    surface::Surfaces,
};

use crate::walk::bounded;

/// `$ask::<WORDS>($argument..., table)` of the table of the policy in force; it gets `None` if that cannot be found.
macro_rules! by_size {
    ($label:expr, $ask:ident($($argument:expr),*)) => {{
        let label: ringfence_abi::policy::Label = $label;
        by_size!(label.table(), label.size_class, $ask($($argument),*))
    }};
    ($key:expr, $size_class:expr, $ask:ident($($argument:expr),*)) => {{
        let key: u32 = $key;
        // SAFETY (three times): an inner map is replaced as a whole and freed after a grace period.
        match $size_class {
            0 => $ask::<{ ringfence_abi::policy::SMALL_WORDS }>($($argument,)* unsafe {
                $crate::maps::TABLES_SMALL.get_value_ptr_mut(&key, &$crate::table::only())
            }),
            1 => $ask::<{ ringfence_abi::policy::MEDIUM_WORDS }>($($argument,)* unsafe {
                $crate::maps::TABLES_MEDIUM.get_value_ptr_mut(&key, &$crate::table::only())
            }),
            _ => $ask::<{ ringfence_abi::policy::LARGE_WORDS }>($($argument,)* unsafe {
                $crate::maps::TABLES_LARGE.get_value_ptr_mut(&key, &$crate::table::only())
            }),
        }
    }};
}
pub(crate) use by_size;

/// The mode of a policy's file section; enforce if the policy cannot be found.
#[inline(always)]
pub fn mode(label: Label) -> u8 {
    byte(label, offset_of!(Header, files_mode) as u64, MODE_ENFORCE)
}

/// The mode of a policy's network section; enforce if the policy cannot be found.
#[inline(always)]
pub fn network_mode(label: Label) -> u8 {
    byte(label, offset_of!(Header, network_mode) as u64, MODE_ENFORCE)
}

/// Whether the policy in force looks at TLS greetings: `ringfence_abi::network::SNI_*`.
#[inline(always)]
pub fn sni(label: Label) -> u8 {
    byte(label, offset_of!(Header, network_sni) as u64, SNI_REQUIRED)
}

/// Whether the policy in force has a rule about an address or a host; not if the policy cannot be found.
#[inline(always)]
pub fn reaches(label: Label) -> bool {
    byte(label, offset_of!(Header, network_reaches) as u64, 0) != 0
}

/// How many programs of the fence have rights of their own; none if the policy cannot be found.
#[inline(always)]
pub fn program_count(label: Label) -> u8 {
    byte(label, offset_of!(Header, program_count) as u64, 0)
}

/// The open surfaces; none if the policy cannot be found.
#[inline(always)]
pub fn surfaces(label: Label) -> Surfaces {
    const AT: u64 = offset_of!(Header, surfaces) as u64;
    Surfaces((word(label, AT / WORD * WORD, 0) >> (AT % WORD * 8)) as u32)
}

/// The capabilities that may be used; none if the policy cannot be found.
#[inline(always)]
pub fn capabilities(label: Label) -> u64 {
    const AT: u64 = offset_of!(Header, capabilities) as u64;
    const { assert!(AT % WORD == 0) };
    word(label, AT, 0)
}

/// The size class of a program's table; `NO_TABLE` if there is none.
#[inline(always)]
pub fn size_class_of(label: Label, program: u8) -> u8 {
    let index = bounded!(u64::from(program), rights::PROGRAMS as u64);
    byte(label, offset_of!(Header, programs) as u64 + index, NO_TABLE)
}

/// Bytes that are read at once.
const WORD: u64 = size_of::<u64>() as u64;

/// A byte of the header of the policy in force; `otherwise` if the policy cannot be found.
#[inline(always)]
fn byte(label: Label, offset: u64, otherwise: u8) -> u8 {
    let bit = offset % WORD * 8;
    (word(label, offset / WORD * WORD, u64::from(otherwise) << bit) >> bit) as u8
}

/// Eight of its bytes.
#[inline(always)]
fn word(label: Label, offset: u64, otherwise: u64) -> u64 {
    header_word(label.table(), u32::from(label.size_class), offset, otherwise)
}

/// VERIFIER: a global function, as `matching::match_path`. A header takes six look-ups, and the kernel writes a program anew for each
/// (kernel/bpf/verifier.c, `bpf_patch_insn_data`).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn header_word(key: u32, size_class: u32, offset: u64, otherwise: u64) -> u64 {
    const LAST: u64 = 0x1f8;
    const { assert!(LAST + WORD <= size_of::<Header>() as u64) };
    const { assert!(offset_of!(Header, programs) as u64 + rights::PROGRAMS as u64 <= LAST) };
    let offset = bounded!(offset, LAST);
    match header(key, size_class) {
        // SAFETY: a map value lives as long as the program runs, and all that the mask lets through lies in it.
        Some(header) => unsafe { header.cast::<u8>().add(offset as usize).cast::<u64>().read_volatile() },
        None => otherwise,
    }
}

/// The header of a table, with which those of all sizes begin.
#[inline(always)]
pub fn header(key: u32, size_class: u32) -> Option<*mut Header> {
    by_size!(key, size_class, header_of())
}

#[inline(always)]
fn header_of<const WORDS: usize>(table: Option<*mut Table<WORDS>>) -> Option<*mut Header> {
    table.map(<*mut Table<WORDS>>::cast)
}

/// The key of a table's only element. On the stack: a constant could be merged with a global of the same initial value,
/// and the loader changes globals.
#[inline(always)]
pub fn only() -> u32 {
    core::hint::black_box(0)
}
