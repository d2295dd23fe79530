//! What a walk has found: rights that are granted, places that are mounted, gaps that are noted.

use std::fs;
use std::path::Path;

use ringfence_abi::rights::{EXEC, READ, WRITE};

use super::{Granted, Place, Walk, c_path};
use crate::confine::error::Error;
use crate::confine::fallback::carve::{Carving, Unmade};
use crate::confine::fallback::found::Grant;
use crate::confine::fallback::mounts::{Kind, Need};
use crate::confine::fallback::reach::Ahead;

impl Walk<'_> {
    /// Mounts a directory executable as a whole if everything readable in it is: one place instead of many.
    pub(super) fn fold(&mut self, path: &Path, first: usize, here: Granted) -> Result<(), Error> {
        let foldable = |place: &Place| place.executable && place.writable == here.writable;
        if self.places[first..]
            .iter()
            .filter(|place| foldable(place))
            .count()
            < 2
        {
            return Ok(());
        }
        let rest: Vec<Place> = self
            .places
            .drain(first..)
            .filter(|place| !foldable(place))
            .collect();
        let executable = Granted {
            executable: true,
            ..here
        };
        self.place(path, executable, Need::IfPresent)?;
        self.places.extend(rest);
        Ok(())
    }

    pub(super) fn grant(&mut self, path: &Path, rights: u8, directory: bool, unmade: Unmade) {
        if rights != 0 {
            self.grants.push(Grant {
                path: path.to_path_buf(),
                rights,
                directory,
                unmade,
            });
        }
    }

    /// Puts mounts in front of what a carving leaves out, and keeps it from being made.
    pub(super) fn close(
        &mut self,
        path: &Path,
        carving: Carving,
        here: Granted,
    ) -> Result<(), Error> {
        self.relies_on_mounts = true;
        if let Some(closed) = carving.closed.first() {
            let first = || (closed.clone(), "nothing can be written in");
            self.gaps.unmade.get_or_insert_with(first);
        }
        for holder in &carving.holders {
            self.place(holder, here, Need::Always)?;
        }
        for (path, rights) in carving.lesser {
            let lesser = Granted {
                rights,
                writable: rights & WRITE != 0,
                executable: rights & EXEC != 0,
            };
            self.place(&path, lesser, Need::Always)?;
        }
        for path in carving.hidden_directories {
            self.carved.push((c_path(&path)?, Kind::Directory));
        }
        for path in carving.hidden_files {
            self.carved.push((c_path(&path)?, Kind::File));
        }
        let unmade = match carving.unmade {
            Unmade::Nothing => return Ok(()),
            Unmade::Directories => "directories cannot be made in",
            Unmade::Anything => "nothing can be made in",
        };
        self.gaps
            .unmade
            .get_or_insert_with(|| (path.to_path_buf(), unmade));
        self.grant_directories(path, here.rights)
    }

    /// Grants the directories in one in which not everything can be made, since they do not share that.
    pub(super) fn grant_directories(&mut self, path: &Path, rights: u8) -> Result<(), Error> {
        let Ok(listing) = fs::read_dir(path) else {
            return Ok(());
        };
        for entry in listing.flatten() {
            self.count(path)?;
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.grant(&path, rights, true, Unmade::Nothing);
            }
        }
        Ok(())
    }

    pub(super) fn place(&mut self, path: &Path, granted: Granted, need: Need) -> Result<(), Error> {
        // The flags of the root are those of everything.
        if path == Path::new("/") {
            return Ok(());
        }
        self.places.push(Place {
            path: c_path(path)?,
            writable: granted.writable,
            executable: granted.executable,
            need,
        });
        Ok(())
    }

    pub(super) fn note_directory(&mut self, path: &Path, own: u8, below: &Ahead, above: Granted) {
        if below.all & WRITE != 0 && own & WRITE == 0 && !above.writable {
            self.gaps.edge.get_or_insert_with(|| path.to_path_buf());
        }
        if below.all & EXEC != 0 && below.all & READ == 0 {
            self.gaps
                .unreadable_program
                .get_or_insert_with(|| path.to_path_buf());
        }
    }

    pub(super) fn note_later(&mut self, path: &Path, rights: u8) {
        for right in [READ, WRITE, EXEC] {
            if rights & right != 0 {
                self.gaps
                    .later
                    .entry(right)
                    .or_insert_with(|| path.to_path_buf());
            }
        }
    }
}
