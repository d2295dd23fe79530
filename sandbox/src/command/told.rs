//! What a supervisor tells those who follow its fence: that it stands, what happens, and how it ended.

use std::path::Path;

use serde::Serialize;

use super::Failure;
use crate::{
    kernel::{self, Description, Fence, Subject, Totals},
    telemetry::Followers,
};

/// Where followers put their sockets, below the run-time state.
pub(super) const FOLLOWERS: &str = "followers";

/// Those who follow one fence.
#[derive(Debug)]
pub(super) struct Told {
    fence: u64,
    followers: Followers,
    description: Description,
}

/// What is told: an object a line, flat.
#[derive(Serialize)]
pub(super) struct Message<Body: Serialize> {
    /// The fence.
    pub(super) fence: u64,
    /// What kind of news this is: `start`, `event`, `reload`, `end`, and `hello`, which only names the fence.
    pub(super) kind: &'static str,
    /// The news.
    #[serde(flatten)]
    pub(super) body: Body,
}

/// Nothing more.
#[derive(Serialize)]
struct Nothing {}

/// The counters of a fence that has ended.
#[derive(Serialize)]
struct End {
    denied: u64,
    audited: u64,
    lost: u64,
    errors: u64,
    dropped: u64,
    missed: u64,
}

impl Told {
    /// Enters the fence in the register, and tells those who follow that it stands.
    pub(super) fn begin(fence: &Fence, profile: &str, subject: Subject) -> Result<Self, Failure> {
        let description = Description::new(profile.to_owned(), subject);
        fence.describe(&description)?;
        let key = fence.key();
        let folder = Path::new(kernel::STATE).join(FOLLOWERS);
        let hello = spelled(key, "hello", &Nothing {});
        let mut told = Self {
            fence: key,
            followers: Followers::of(&folder, key, hello),
            description,
        };
        told.look();
        let description = told.description.clone();
        told.tell("start", &description);
        Ok(told)
    }

    /// Enters another profile in the register, and tells those who follow.
    pub(super) fn reloaded(&mut self, fence: &Fence, profile: &str) -> Result<(), Failure> {
        profile.clone_into(&mut self.description.profile);
        fence.describe(&self.description)?;
        self.look();
        let description = self.description.clone();
        self.tell("reload", &description);
        Ok(())
    }

    /// Looks who follows now.
    pub(super) fn look(&mut self) {
        self.followers.look();
    }

    /// One event.
    pub(super) fn event(&mut self, line: &impl Serialize) {
        self.tell("event", line);
    }

    /// The last that is told.
    pub(super) fn end(mut self, totals: Totals) {
        self.look();
        let Totals {
            denied,
            audited,
            lost,
            errors,
            tasks: _,
            dropped,
            missed,
        } = totals;
        let end = End {
            denied,
            audited,
            lost,
            errors,
            dropped,
            missed,
        };
        self.tell("end", &end);
    }

    /// Where nobody follows, nothing is put into words.
    fn tell(&mut self, kind: &'static str, body: &impl Serialize) {
        if !self.followers.are_none() {
            self.followers.tell(&spelled(self.fence, kind, body));
        }
    }
}

/// A message as JSON. What cannot be spelled is said to be so.
pub(super) fn spelled(fence: u64, kind: &'static str, body: &impl Serialize) -> Vec<u8> {
    let message = Message { fence, kind, body };
    serde_json::to_vec(&message).unwrap_or_else(|error| {
        let text =
            serde_json::json!({"fence": fence, "kind": "unspeakable", "reason": error.to_string()});
        text.to_string().into_bytes()
    })
}
