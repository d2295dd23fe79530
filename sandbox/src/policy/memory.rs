//! What was compiled before, by a digest of all that it was compiled from.

use std::fmt;
use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What names a result: a digest of everything that it depends on. What has one key is one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key(pub [u8; 32]);

/// SHA-256 as a [`Hasher`], so that `#[derive(Hash)]` says what a key is made of: a field that is added becomes part of it.
#[derive(Clone, Debug)]
pub struct KeyHasher(Sha256);

/// Results of earlier runs. What it recalls may be anything: who asks looks whether it can be what was kept, and makes it anew
/// where it cannot.
#[derive(Clone, Copy)]
pub struct Memory<'a> {
    /// What was kept under a key, if it still is, and whole.
    pub recall: &'a dyn Fn(&Key) -> Option<Vec<u8>>,
    /// Keeps something under a key, or does not.
    pub keep: &'a dyn Fn(&Key, &[u8]),
}

impl Memory<'static> {
    /// Remembers nothing.
    pub const NONE: Self = Self {
        recall: &|_| None,
        keep: &|_, _| (),
    };
}

impl KeyHasher {
    /// The beginning of a key. `kind` tells apart what is made of the same, or by another version.
    #[must_use]
    pub fn new(kind: &str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.write_usize(kind.len());
        hasher.write(kind.as_bytes());
        hasher
    }

    /// The key of all that was written.
    #[must_use]
    pub fn key(self) -> Key {
        Key(self.0.finalize().into())
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let Key([a, b, c, d, e, f, g, h, ..]) = self.clone().key();
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Memory<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Memory")
    }
}
