//! What earlier runs have compiled. It lies below the run-time state, where no fence may look or write and which a boot empties: so
//! only root's runs have it.

use std::path::Path;

use crate::{cache::Cache, kernel, policy::Memory};

/// The folder's name below the run-time state.
const FOLDER: &str = "compiled";

/// What earlier runs have compiled, where that can be had.
#[derive(Debug)]
pub(in crate::command) struct Remembered(Option<Cache>);

impl Remembered {
    /// Opens it. Where it cannot be had everything is compiled, which takes longer and is the same.
    pub(in crate::command) fn open() -> Self {
        Self(Cache::open(&Path::new(kernel::STATE).join(FOLDER)).ok())
    }

    /// Hands it to somebody who compiles.
    pub(in crate::command) fn lend<T>(&self, to: impl FnOnce(Memory<'_>) -> T) -> T {
        let Some(cache) = &self.0 else {
            return to(Memory::NONE);
        };
        to(Memory {
            recall: &|key| cache.recall(key),
            // What is not kept is compiled again.
            keep: &|key, value| drop(cache.keep(key, value)),
        })
    }
}
