//! What the two halves of ringfence share: the kernel programs (`ringfence-ebpf`) and the program that loads them.
//!
//! Integers and byte arrays only: no `bool`, no `usize`, no pointer, no enum crosses the border. Sizes are asserted at
//! compile time, and [`ABI_VERSION`] changes whenever a record or its meaning does.
#![no_std]

pub mod automaton;
pub mod calls;
pub mod event;
pub mod greeting;
pub mod layout;
pub mod limits;
pub mod network;
pub mod policy;
pub mod record;
pub mod rights;
pub mod surface;

/// Changes whenever a record of this crate, or what it means, changes. Pinned programs of another version are replaced,
/// never reused.
pub const ABI_VERSION: u32 = 7;
