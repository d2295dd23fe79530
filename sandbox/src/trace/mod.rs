//! The trace: what one run of a command did, each act once, with how often, by which program, and when first.
//!
//! On disk it is lines of JSON: the run's facts, then a line for each act, then its end. A trace without an end is not
//! whole, and is refused.

mod act;
mod disk;
mod text;

pub use act::{Act, Tally};
pub use disk::{Error, FORMAT};
pub use text::Text;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

/// One run of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// What was run, and where.
    pub facts: Facts,
    /// What it did.
    pub records: Vec<Record>,
    /// How it ended.
    pub end: End,
}

/// What was run, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Names the run: no two have the same.
    pub run: String,
    /// The command and its arguments.
    pub command: Vec<Text>,
    /// The values that the variables of profiles had: `CWD`, `HOME`, `TMP` and the others.
    pub variables: BTreeMap<String, Text>,
    /// How it was recorded.
    pub recorder: String,
    /// The kernel's release.
    pub kernel: String,
    /// The version of ringfence.
    pub version: String,
    /// Seconds since 1970 when it began.
    pub began: u64,
}

/// One kind of act.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What was done: the name of an operation of events.
    pub what: String,
    /// On which path, as the kernel has it; none where there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<Text>,
    /// The new path of a rename or link.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub other: Option<Text>,
    /// Whom it reached, or where it was bound.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peer: Option<Peer>,
    /// The rights that it needed: any of `r`, `w` and `x`.
    #[serde(skip_serializing_if = "Rights::is_empty", default)]
    pub rights: Rights,
    /// What of the operation, as a number: family, kind and protocol of a socket, as
    /// [`ringfence_abi::network::socket_of_detail`] takes them apart.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub detail: u32,
    /// Whether the path is a directory's.
    #[serde(skip_serializing_if = "is_false", default)]
    pub directory: bool,
    /// Whether it lies in `/proc` below the number of a task of the run, and was not looked for as `/proc/self`.
    #[serde(skip_serializing_if = "is_false", default)]
    pub by_number: bool,
    /// The path of the program that did it; none where the kernel could not tell.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub program: Option<Text>,
    /// How often.
    pub count: u64,
    /// Nanoseconds since boot when it was done first.
    pub first: u64,
}

/// The other side of a connection, or the side that is bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The address; of IPv4 as such.
    pub address: IpAddr,
    /// The port; 0 where the protocol has none.
    #[serde(skip_serializing_if = "is_no_port", default)]
    pub port: u16,
    /// The protocol, as in [`ringfence_abi::network::TCP`].
    pub protocol: u8,
    /// The names that led there.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub names: BTreeSet<String>,
    /// Whether they may only lead there beside a rule about the address: it lies inside the host or its network, and its
    /// administrator has not named it.
    #[serde(skip_serializing_if = "is_false", default)]
    pub inside: bool,
}

/// How a run ended, and what was only counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct End {
    /// The command's exit code; 128+n if signal n ended it.
    pub exit: u8,
    /// Acts that were not recorded, for each reason how many.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub lost: BTreeMap<String, u64>,
    /// Capabilities that were asked for and held.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub capabilities: Vec<String>,
    /// Parts of the kernel that were used and are closed to a fence by default, by their names in `[kernel] allow`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub surfaces: Vec<String>,
    /// System calls that were made, by name; a number where the name is not known.
    pub system_calls: Vec<String>,
    /// Names that were looked up, whether they exist or not.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub names: BTreeSet<String>,
    /// System calls, of this and other commands, that may be missing from the list: the kernel did not show them. What they
    /// did has been recorded all the same.
    #[serde(skip_serializing_if = "is_none_left_out", default)]
    pub unlisted_calls: u64,
    /// Bytes of memory of all tasks together, at most; none where the kernel did not tell.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peak_memory: Option<u64>,
    /// Tasks at a time, at most.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peak_tasks: Option<u64>,
    /// Whether the kernel did not count either, so that it was looked at now and then: the truth is as much or more.
    #[serde(skip_serializing_if = "is_false", default)]
    pub peaks_sampled: bool,
}

/// Rights as letters: `r`, `w`, `x`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rights(pub u8);

impl Rights {
    const LETTERS: [(u8, char); 3] = [
        (ringfence_abi::rights::READ, 'r'),
        (ringfence_abi::rights::WRITE, 'w'),
        (ringfence_abi::rights::EXEC, 'x'),
    ];

    /// Whether it is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Whether all of `bits` are among them.
    #[must_use]
    pub fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }
}

impl Serialize for Rights {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let letters = Self::LETTERS.iter().filter(|(bit, _)| self.has(*bit));
        serializer.collect_str(&letters.map(|(_, letter)| *letter).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Rights {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = String::deserialize(deserializer)?;
        let mut rights = Self(0);
        for letter in text.chars() {
            let known = Self::LETTERS.iter().find(|(_, known)| *known == letter);
            let (bit, _) = known.ok_or_else(|| D::Error::custom("rights are r, w and x"))?;
            rights.0 |= bit;
        }
        Ok(rights)
    }
}

impl Trace {
    /// Whether something was not recorded.
    #[must_use]
    pub fn has_losses(&self) -> bool {
        self.end.lost.values().any(|&lost| lost != 0)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_no_port(port: &u16) -> bool {
    *port == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_none_left_out(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(claim: &bool) -> bool {
    !claim
}
