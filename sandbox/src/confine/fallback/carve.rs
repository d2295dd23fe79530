//! What is denied inside a directory that may be written. Landlock has no "but not": the directory is granted as a whole,
//! and a mount stands in front of each exception that exists.
//!
//! An exception that does not exist yet could be made, and Landlock cannot tell names apart: then nothing of its kind
//! can be made in that directory, and if it is not the granted one itself, nothing in it can be written. The directories
//! between are mounted onto themselves, because what is a mount point can neither be renamed nor removed (fs/namei.c,
//! 6.12: `vfs_rename`, `vfs_rmdir`), so that the exception cannot be carried off and made anew.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use ringfence_abi::rights::{EXEC, READ, WRITE};

use super::reach::{Ahead, Reach};

/// What cannot be made in a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unmade {
    /// Everything can.
    #[default]
    Nothing,
    /// No directory: one that does not exist may itself be written, but not all that would be in it.
    Directories,
    /// Nothing at all: a name that does not exist may not be written.
    Anything,
}

/// A directory whose content has certain rights, but for exceptions with names of their own.
#[derive(Debug, Default)]
pub(super) struct Carving {
    /// Rights of all but the exceptions.
    pub(super) rights: u8,
    /// What cannot be made in the directory itself.
    pub(super) unmade: Unmade,
    /// Directories in it that hold exceptions and have its rights themselves; outer before inner.
    pub(super) holders: Vec<PathBuf>,
    /// Directories without any right.
    pub(super) hidden_directories: Vec<PathBuf>,
    /// Files without any right.
    pub(super) hidden_files: Vec<PathBuf>,
    /// What has less rights, but reading among them, as a whole; outer before inner.
    pub(super) lesser: Vec<(PathBuf, u8)>,
    /// Directories among those that lose the right to be written for an exception that does not exist.
    pub(super) closed: Vec<PathBuf>,
}

/// How the directory `path` is granted, whose slash leads to the state `inside`; `None` if what is in it does not have
/// the right to be written but for few exceptions, or if there is no way to close one of those.
pub(super) fn carve(reach: &Reach<'_>, path: &Path, inside: u32) -> Option<Carving> {
    [READ | WRITE | EXEC, READ | WRITE]
        .into_iter()
        .find_map(|rights| Carving::of(reach, path, inside, rights))
}

impl Carving {
    fn of(reach: &Reach<'_>, path: &Path, inside: u32, rights: u8) -> Option<Self> {
        let mut carving = Self {
            rights,
            ..Self::default()
        };
        for name in exceptions(reach, inside, rights)? {
            let state = reach.step(inside, &name);
            carving.exception(reach, path.join(OsStr::from_bytes(&name)), state)?;
        }
        Some(carving)
    }

    /// Takes in what was found of a directory that holds exceptions.
    fn add(&mut self, path: PathBuf, mut inner: Self) {
        if inner.unmade == Unmade::Nothing {
            self.holders.push(path);
            self.holders.append(&mut inner.holders);
        } else {
            self.lesser.push((path.clone(), self.rights & !WRITE));
            self.closed.push(path);
        }
        self.closed.append(&mut inner.closed);
        self.lesser.append(&mut inner.lesser);
        self.hidden_directories
            .append(&mut inner.hidden_directories);
        self.hidden_files.append(&mut inner.hidden_files);
    }

    fn exception(&mut self, reach: &Reach<'_>, path: PathBuf, state: u32) -> Option<()> {
        let rights = reach.rights(state);
        let kind = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata.file_type(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.unmade = self.unmade.max(if rights & self.rights == self.rights {
                    Unmade::Directories
                } else {
                    Unmade::Anything
                });
                return Some(());
            }
            Err(_) => return None,
        };
        if kind.is_dir() {
            let inside = reach.step(state, b"/");
            let below = reach.ahead(inside);
            if rights | below.any == 0 {
                self.hidden_directories.push(path);
            } else if rights & READ != 0 && rights == below.all && rights == below.any {
                self.lesser.push((path, rights));
            } else if rights & self.rights == self.rights {
                let inner = Self::of(reach, &path, inside, self.rights)?;
                self.add(path, inner);
            } else {
                return None;
            }
            return Some(());
        }
        // What is written to through a device or a socket is not on the mount, and a link is no mount point.
        let plain = kind.is_file();
        let special =
            kind.is_char_device() || kind.is_block_device() || kind.is_socket() || kind.is_fifo();
        if rights == 0 && (plain || special) {
            self.hidden_files.push(path);
        } else if rights & READ != 0 && plain {
            self.lesser.push((path, rights));
        } else {
            return None;
        }
        Some(())
    }
}

/// The names after `inside` that do not have `rights`, or below which something has not; `None` if they are many.
fn exceptions(reach: &Reach<'_>, inside: u32, rights: u8) -> Option<Vec<Vec<u8>>> {
    let has = |state, below: Ahead| reach.rights(state) & below.all & rights == rights;
    reach.names(
        inside,
        |state| !has(state, reach.ahead(reach.step(state, b"/"))),
        |state| !has(state, reach.ahead(state)),
    )
}

#[cfg(test)]
mod tests {
    use super::super::rules::{Rule, automaton, deny, tree};
    use super::*;

    fn carved(place: &Path, rules: &[Rule]) -> Option<Carving> {
        let automaton = automaton(rules);
        let mut path = place.as_os_str().as_bytes().to_vec();
        path.push(b'/');
        carve(&Reach::new(&automaton), place, automaton.state(&path))
    }

    #[test]
    fn what_is_denied_and_exists_is_hidden() {
        let place = tempfile::tempdir().unwrap();
        let hooks = place.path().join(".git/hooks");
        fs::create_dir_all(&hooks).unwrap();
        let carving = carved(
            place.path(),
            &[tree(place.path(), READ | WRITE), deny(&hooks)],
        );
        let carving = carving.unwrap();
        assert_eq!(carving.rights, READ | WRITE);
        assert_eq!(carving.unmade, Unmade::Nothing);
        assert_eq!(carving.holders, [place.path().join(".git")]);
        assert_eq!(carving.hidden_directories, [hooks]);
    }

    #[test]
    fn what_is_denied_and_does_not_exist_cannot_be_made() {
        let place = tempfile::tempdir().unwrap();
        let rules = |denied: &str| {
            [
                tree(place.path(), READ | WRITE),
                deny(place.path().join(denied)),
            ]
        };
        let below = carved(place.path(), &rules(".git/hooks")).unwrap();
        assert_eq!(below.unmade, Unmade::Directories);
        let direct = carved(place.path(), &rules("secret")).unwrap();
        assert_eq!(direct.unmade, Unmade::Anything);
        fs::create_dir(place.path().join(".git")).unwrap();
        let inside = carved(place.path(), &rules(".git/hooks")).unwrap();
        assert_eq!(inside.unmade, Unmade::Nothing);
        assert_eq!(inside.closed, [place.path().join(".git")]);
    }

    #[test]
    fn a_link_in_place_of_what_is_denied_cannot_be_closed() {
        let place = tempfile::tempdir().unwrap();
        let link = place.path().join("link");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        assert!(
            carved(
                place.path(),
                &[tree(place.path(), READ | WRITE), deny(&link)]
            )
            .is_none()
        );
    }
}
