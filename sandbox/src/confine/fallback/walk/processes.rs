//! `/proc`, where it will be a file system of the fence's own: what of it is no task, and may be read or not.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ringfence_abi::rights::READ;

use super::{Summary, Walk, c_path};
use crate::confine::error::Error;
use crate::confine::fallback::mounts::{Kind, NODEV, NOEXEC, NOSUID, RDONLY};
use crate::confine::fallback::part::{Entry, EntryKind, Part};
use crate::confine::fallback::view::View;

/// What may be read at a path, and below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readable {
    Nothing,
    Some,
    All,
}

impl Walk<'_> {
    /// `path` is `/proc`, and leads to the state `inside`.
    pub(super) fn processes(&mut self, path: &Path, inside: u32) -> Result<Summary, Error> {
        let mut view = View::default();
        // What cannot be listed is not there.
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            self.count(path)?;
            let (path, name) = (entry.path(), entry.file_name());
            let is_task = name.as_bytes().iter().all(u8::is_ascii_digit);
            let kind = entry.file_type().ok().filter(|kind| !kind.is_symlink());
            let Some(kind) = kind.filter(|_| !is_task) else {
                continue;
            };
            let own = self.reach.step(inside, name.as_bytes());
            match (self.readable(own, kind.is_dir()), kind.is_dir()) {
                (Readable::All, _) => {}
                (_, false) => view.closed.push((c_path(&path)?, Kind::File)),
                (Readable::Nothing, true) => view.closed.push((c_path(&path)?, Kind::Directory)),
                (Readable::Some, true) => {
                    let mut entries = Vec::new();
                    self.choose(&path, self.reach.step(own, b"/"), &mut entries)?;
                    let directory = c_path(&path)?;
                    view.chosen.push(Part { directory, entries });
                }
            }
        }
        self.view = Some(view);
        Ok(Summary {
            data: true,
            ..Summary::default()
        })
    }

    fn readable(&self, own: u32, directory: bool) -> Readable {
        let rights = self.reach.rights(own);
        let below = self.reach.ahead(self.reach.step(own, b"/"));
        match directory {
            false if rights & READ != 0 => Readable::All,
            true if rights & below.all & READ != 0 => Readable::All,
            true if (rights | below.any) & READ != 0 => Readable::Some,
            _ => Readable::Nothing,
        }
    }

    /// What may be read in a directory that leads to the state `inside`.
    fn choose(&mut self, path: &Path, inside: u32, entries: &mut Vec<Entry>) -> Result<(), Error> {
        let names = match self.names(inside, 0) {
            Some(names) => names,
            None => {
                let listing = fs::read_dir(path).into_iter().flatten().flatten();
                listing
                    .map(|entry| entry.file_name().as_bytes().to_vec())
                    .collect()
            }
        };
        for name in names {
            self.count(path)?;
            let path = path.join(OsStr::from_bytes(&name));
            let kind = fs::symlink_metadata(&path).ok();
            let kind = kind.map(|found| found.file_type());
            let Some(kind) = kind.filter(|kind| !kind.is_symlink()) else {
                continue;
            };
            let own = self.reach.step(inside, &name);
            let kind = match (self.readable(own, kind.is_dir()), kind.is_dir()) {
                (Readable::Nothing, _) => continue,
                (_, false) => EntryKind::File,
                (Readable::All, true) => EntryKind::Tree,
                (Readable::Some, true) => EntryKind::Way,
            };
            let below = path.strip_prefix("/proc").unwrap_or(&path);
            let is_way = kind == EntryKind::Way;
            entries.push(Entry {
                path: c_path(&path)?,
                below: c_path(below)?,
                kind,
                flags: RDONLY | NOSUID | NODEV | NOEXEC,
            });
            if is_way {
                self.choose(&path, self.reach.step(own, b"/"), entries)?;
            }
        }
        Ok(())
    }
}
