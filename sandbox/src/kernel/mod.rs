//! The kernel room: the BPF LSM engine, and what stands beside the fallback engine.
//!
//! [`Host`] says whether this kernel and this user can have it. [`Engine::open`] finds the programs that an earlier run
//! has pinned, or loads, attaches and pins them once and tests them. [`Engine::install`] puts one policy into the maps and
//! returns the [`Fence`]: from then on, a task that executes a program in the fence's cgroup is fenced, and so is all that
//! it starts. [`Fence::events`] gives its denials. [`Engine::open_watch`] is for another engine: it tells of what that denies, and
//! judges addresses on the fence's cgroup.
//!
//! [`Recorder`] is apart from all that: programs that watch what a command does, for as long as `learn` runs.
//!
//! aya is known in this room only.

mod attach;
mod by_hand;
mod collect;
mod engine;
mod error;
mod fence;
mod host;
mod layout;
mod loader;
mod map;
mod memory;
mod misses;
mod moves;
mod names;
mod pins;
mod reader;
mod recorder;
mod refusal;
mod register;
mod replace;
mod selftest;
mod slots;
mod stream;
mod table;
mod traffic;

pub use collect::Unloaded;
pub use engine::Engine;
pub use error::Error;
pub use fence::{Fence, Totals};
pub use host::Host;
pub use names::Grants;
pub use pins::STATE;
pub use recorder::Recorder;
pub use register::{
    Counters, Description, Register, Registered, Subject, Version, control, register, token,
};
pub use selftest::Cgroup;
pub use stream::{Events, decode};
pub use traffic::Traffic;
