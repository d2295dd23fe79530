//! The file system as [`crate::compile`] sees it: one path at a time, links not followed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::compile::Entry;

/// What is at `path`. What cannot be seen counts as missing: a rule then covers what it says, and nothing more.
#[must_use]
pub fn look(path: &[u8]) -> Entry {
    let path = Path::new(OsStr::from_bytes(path));
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Entry::Missing;
    };
    if metadata.is_dir() {
        return Entry::Directory;
    }
    if !metadata.is_symlink() {
        return Entry::Other;
    }
    fs::read_link(path).map_or(Entry::Missing, |target| {
        Entry::Link(target.into_os_string().into_vec())
    })
}
