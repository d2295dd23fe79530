//! Profiles in registries of container images, as artifacts of a type of their own.
//!
//! ```text
//! a profile's bytes --Artifact--> a manifest and one blob --push--> registry --pull--> the same bytes, or an error
//! ```
//!
//! A registry is not trusted: what it gives is bounded in size and time, and is what its digest says. Whether it is a profile at
//! all is for whoever asked to see: this room does not read them. Nothing here is called when a container starts.

#![forbid(unsafe_code)]

mod address;
mod artifact;
mod certificates;
mod client;
mod credentials;
mod error;

pub use address::Address;
pub use artifact::{Artifact, Language};
pub use client::{Pulled, pull, push};
pub use error::Error;
