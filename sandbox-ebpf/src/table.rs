//! The tables of policies: which one is in force for a task, and what its header says.

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
    with_header(label, MODE_ENFORCE, |header| header.files_mode)
}

/// The mode of a policy's network section; enforce if the policy cannot be found.
#[inline(always)]
pub fn network_mode(label: Label) -> u8 {
    with_header(label, MODE_ENFORCE, |header| header.network_mode)
}

/// Whether the policy in force looks at TLS greetings: `ringfence_abi::network::SNI_*`.
#[inline(always)]
pub fn sni(label: Label) -> u8 {
    with_header(label, SNI_REQUIRED, |header| header.network_sni)
}

/// Whether the policy in force has a rule about an address or a host; not if the policy cannot be found.
#[inline(always)]
pub fn reaches(label: Label) -> bool {
    with_header(label, 0, |header| header.network_reaches) != 0
}

/// How many programs of the fence have rights of their own; none if the policy cannot be found.
#[inline(always)]
pub fn program_count(label: Label) -> u8 {
    with_header(label, 0, |header| header.program_count)
}

/// The open surfaces; none if the policy cannot be found.
#[inline(always)]
pub fn surfaces(label: Label) -> Surfaces {
    Surfaces(with_header(label, 0, |header| header.surfaces.0))
}

/// The capabilities that may be used; none if the policy cannot be found.
#[inline(always)]
pub fn capabilities(label: Label) -> u64 {
    with_header(label, 0, |header| header.capabilities)
}

/// The size class of a program's table; `NO_TABLE` if there is none.
#[inline(always)]
pub fn size_class_of(label: Label, program: u8) -> u8 {
    let index = bounded!(u64::from(program), rights::PROGRAMS as u64);
    with_header(label, NO_TABLE, |header| {
        let classes = (&raw const header.programs).cast::<u8>();
        // SAFETY: the index is at most that of the array's last element.
        unsafe { classes.add(index as usize).read() }
    })
}

/// What `part` takes from the header of the policy in force; `otherwise` if the policy cannot be found.
#[inline(always)]
fn with_header<T>(label: Label, otherwise: T, part: impl Fn(&Header) -> T) -> T {
    match header(label.table(), u32::from(label.size_class)) {
        // SAFETY: a map value lives as long as the program runs.
        Some(header) => part(unsafe { &*header }),
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
