//! Looking at the file system for the compiler, which touches nothing itself.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
};

use crate::compile::Entry;

/// What `path` names, links not followed. What cannot be seen counts as missing: the rule then stays as it is written.
#[must_use]
pub(super) fn look(path: &[u8]) -> Entry {
    let path = Path::new(OsStr::from_bytes(path));
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => fs::read_link(path)
            .map_or(Entry::Missing, |target| Entry::Link(target.into_os_string().into_vec())),
        Ok(found) if found.is_dir() => Entry::Directory,
        Ok(_) => Entry::Other,
        Err(_) => Entry::Missing,
    }
}
