//! What is denied inside a directory that may be written. Landlock has no "but not": the directory is granted as a whole,
//! and a mount stands in front of each exception that exists.
//!
//! An exception that does not exist yet could be made, and Landlock cannot tell names apart: then nothing of its kind
//! can be made in that directory. The directories between are mounted onto themselves, because what is a mount point
//! can neither be renamed nor removed (fs/namei.c, 6.12: `vfs_rename`, `vfs_rmdir`), so that the exception cannot be
//! carried off and made anew.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use ringfence_abi::limits::NAME_BYTES;
use ringfence_abi::rights::{EXEC, READ, WRITE};

use super::reach::Reach;

/// Most states that are looked at to find the exceptions of one directory.
const MOST_STATES: usize = 512;

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
    /// What cannot be made in [`Self::holders`].
    pub(super) unmade: Unmade,
    /// The directory, and those in it that hold exceptions and that have its rights themselves; outer before inner.
    pub(super) holders: Vec<PathBuf>,
    /// Directories without any right.
    pub(super) hidden_directories: Vec<PathBuf>,
    /// Files without any right.
    pub(super) hidden_files: Vec<PathBuf>,
    /// What has less rights, but reading among them, as a whole.
    pub(super) lesser: Vec<(PathBuf, u8)>,
}

/// How the directory `path` is granted, whose slash leads to the state `inside`; `None` if what is in it does not have
/// the right to be written but for few exceptions, or if there is no way to close one of those.
pub(super) fn carve(reach: &Reach<'_>, path: &Path, inside: u32) -> Option<Carving> {
    [READ | WRITE | EXEC, READ | WRITE]
        .into_iter()
        .find_map(|rights| {
            let mut carving = Carving {
                rights,
                ..Carving::default()
            };
            carving.directory(reach, path, inside)?;
            Some(carving)
        })
}

impl Carving {
    fn directory(&mut self, reach: &Reach<'_>, path: &Path, inside: u32) -> Option<()> {
        let names = exceptions(reach, inside, self.rights)?;
        self.holders.push(path.to_path_buf());
        for name in names {
            let state = reach.step(inside, &name);
            self.exception(reach, path.join(OsStr::from_bytes(&name)), state)?;
        }
        Some(())
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
                self.directory(reach, &path, inside)?;
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
    let has = |held: u8| held & rights == rights;
    let mut names = Vec::new();
    let mut open = vec![(inside, Vec::new())];
    let mut seen = 0;
    while let Some((state, name)) = open.pop() {
        seen += 1;
        if seen > MOST_STATES || name.len() > NAME_BYTES {
            return None;
        }
        let below = reach.ahead(reach.step(state, b"/"));
        if !name.is_empty() && !(has(reach.rights(state)) && has(below.all)) {
            names.push(name.clone());
        }
        for byte in (1..=255).filter(|&byte| byte != b'/') {
            let next = reach.step(state, &[byte]);
            if !(has(reach.rights(next)) && has(reach.ahead(next).all)) {
                let mut name = name.clone();
                name.push(byte);
                open.push((next, name));
            }
        }
    }
    Some(names)
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
        assert_eq!(
            carving.holders,
            [place.path().to_path_buf(), place.path().join(".git")]
        );
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
