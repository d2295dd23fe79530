//! Containers as the Open Container Initiative writes them down: a runtime's command line, a bundle, the state that a
//! hook gets, and a container's own cgroup and root.
//!
//! ```text
//! runc's command line --Call::parse--> Call --Bundle::read--> Bundle --fence, write--> hand_over() to the real runtime
//! the runtime's hook  --Container::from_state--> Container --OwnCgroup::of, Root::of--> what a fence needs to know
//! ```
//!
//! This room reads and writes what engines and runtimes say to each other. It fences nothing: [`crate::command`] does, with
//! the kernel room. oci-spec is known in this room only; what a bundle says is changed in its JSON, so that what the library
//! does not know stays as it was.

#![forbid(unsafe_code)]

mod arguments;
mod bundle;
mod calls;
mod cgroup;
mod digest;
mod error;
mod hook;
mod host;
mod image;
pub mod install;
mod launcher;
mod left;
mod limits;
mod meeting;
mod messenger;
mod monitor;
mod narrowed;
mod record;
mod root;
mod running;
mod runtime;

pub use arguments::{Act, Call, Complaint};
pub use bundle::{Bundle, Fencing, Process, tighten_process};
pub use cgroup::OwnCgroup;
pub use error::Error;
pub use hook::Container;
pub use host::{ByImage, CONFIGURATION, Host, HostEngine, PROFILES};
pub use image::Image;
pub use launcher::Launcher;
pub use left::Left;
pub use meeting::{Meeting, Visit};
pub use messenger::Messenger;
pub use monitor::detach;
pub use record::{Held, Record, can_be_kept, ended, of_cgroup, of_container};
pub use root::{Found, Root};
pub use running::Running;
pub use runtime::{Runtime, hand_over};

/// The annotation by which a container names its profile.
pub const ANNOTATION: &str = "dev.ringfence.profile";

/// The annotation by which a container asks to be recorded instead of fenced, with the file that its profile goes to.
pub const LEARN: &str = "dev.ringfence.learn";
