//! Recording: what a command does is told once, and counted after that. Nothing is denied here.
//!
//! Two ways lead here, one or the other is attached: [`calls`], the system calls that succeeded, and [`hooks`], the hooks that a fence
//! would judge at. Beside either stands [`network`].

pub mod calls;
pub mod hooks;
pub mod network;
pub mod tasks;

mod path;
mod program;
mod recording;
mod stream;
mod tell;

pub use path::{Name, Thing};
pub use program::{about_to_execute, was_executing, with_program};
pub use recording::{count, current, mark, number_of_thread, recording, takes_in, thread};
pub use tell::{act, by_abstract_name, nameless, without_path};
