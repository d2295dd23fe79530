//! Where a directory will be one of the fence's own: what of the one that is there stays in reach.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use ringfence_abi::rights::{ALL, EXEC, READ, WRITE};

use super::{Granted, MOST_MOUNTS, Walk, c_path};
use crate::confine::error::Error;
use crate::confine::fallback::carve::Unmade;
use crate::confine::fallback::found::{Grant, LIST};
use crate::confine::fallback::mounts::{NODEV, RDONLY};
use crate::confine::fallback::own_directory::{OwnDirectory, PLACES};
use crate::confine::fallback::part::{Entry, EntryKind, Part};

/// Most entries that are looked at for pipes and links, below what stays.
const MOST_LOOKED: usize = 10_000;

impl Walk<'_> {
    /// Whether the directory `path` is now one of the fence's own: names may be made in it by a pattern, and what is allowed of
    /// the one that is there can be kept. `inside` is the state after its slash.
    pub(super) fn is_made_own(
        &mut self,
        path: &Path,
        inside: u32,
        above: Granted,
    ) -> Result<bool, Error> {
        if !self.own.directories {
            return Ok(false);
        }
        let Some(place) = PLACES.into_iter().find(|place| place.path() == path) else {
            return Ok(false);
        };
        if !self.draws_names(inside, above) {
            return Ok(false);
        }
        let below = self.reach.ahead(inside);
        let executable = self.maker.is_some() && self.draws_programs(inside);
        let mut own = OwnDirectory::empty(place, executable);
        if place.keeps {
            // All that there is would have to stay, and all that is to come.
            if (above.rights | below.all) != 0 || !self.keep(&mut own, path, inside)? {
                return Ok(false);
            }
            self.note_lost(&own.spelled);
        }
        if executable {
            self.gaps.programs.get_or_insert_with(|| path.to_path_buf());
        } else if !Self::are_all_there(path, self.names(inside, READ | WRITE | LIST)) {
            self.note_later(path, EXEC);
        }
        self.gaps.own.push(place.path());
        self.owned.push(own);
        Ok(true)
    }

    /// Whether a pattern lets names be made, read and executed: then whatever can be read can be executed under such a name, as in
    /// [`Walk::makes_programs`].
    fn draws_programs(&self, inside: u32) -> bool {
        let is_whole = |state| {
            let below = self.reach.ahead(self.reach.step(state, b"/"));
            self.reach.rights(state) == ALL || below.whole
        };
        let may_lead = |state| self.reach.rights(state) == ALL || self.reach.ahead(state).whole;
        self.reach.names(inside, is_whole, may_lead).is_none()
    }

    fn are_all_there(path: &Path, names: Option<Vec<Vec<u8>>>) -> bool {
        let is_there = |name: &Vec<u8>| {
            let path = path.join(OsStr::from_bytes(name));
            fs::symlink_metadata(path).is_ok()
        };
        names.is_some_and(|names| names.iter().all(is_there))
    }

    /// Grants what is allowed in `path`, and keeps it; false, with nothing done, if something of that cannot be.
    fn keep(&mut self, own: &mut OwnDirectory, path: &Path, inside: u32) -> Result<bool, Error> {
        let Ok(listing) = fs::read_dir(path) else {
            return Ok(false);
        };
        let first = self.candidates.len();
        let marks = [
            self.grants.len(),
            self.listed.len(),
            self.places.len(),
            self.hidden.len(),
            self.carved.len(),
        ];
        let (gaps, relies, entries) = (self.gaps.clone(), self.relies_on_mounts, self.entries);
        let mut keeping = Keeping::new(own, path);
        let mut links = Vec::new();
        for entry in listing.flatten() {
            self.count(path)?;
            let (path, name) = (entry.path(), entry.file_name());
            let state = self.reach.step(inside, name.as_bytes());
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_symlink() {
                links.push(path);
            } else if self.leads_to(self.reach.step(state, b"/"), state) != 0 {
                self.child(&path, name.as_bytes(), inside, kind, Granted::default())?;
            }
        }
        // Nothing has to be hidden in a directory that has nothing else in it.
        self.candidates.truncate(first);
        let granted = self.grants[marks[0]..].iter();
        let kept = granted
            .chain(&self.listed[marks[1]..])
            .try_for_each(|grant| keeping.grant(grant))
            .and_then(|()| keeping.way_to(self.stay))
            .and_then(|()| keeping.links_on_ways())
            .and_then(|more| {
                links
                    .iter()
                    .chain(&more)
                    .filter(|link| self.leads_somewhere(link))
                    .try_for_each(|link| keeping.link(link))
            });
        if kept.is_some() && own.mounts() <= MOST_MOUNTS {
            own.spelled = self.spelled(path, inside);
            return Ok(true);
        }
        self.grants.truncate(marks[0]);
        self.listed.truncate(marks[1]);
        self.places.truncate(marks[2]);
        self.hidden.truncate(marks[3]);
        self.carved.truncate(marks[4]);
        (self.gaps, self.relies_on_mounts, self.entries) = (gaps, relies, entries);
        Ok(false)
    }

    /// Whether a symbolic link leads to where something is allowed.
    fn leads_somewhere(&self, link: &Path) -> bool {
        fs::canonicalize(link).is_ok_and(|target| {
            let state = self.reach.state(target.as_os_str().as_bytes());
            self.leads_to(self.reach.step(state, b"/"), state) != 0
        })
    }

    /// What rules spell out in a directory, and that leads to a right.
    fn spelled(&self, path: &Path, inside: u32) -> Vec<PathBuf> {
        let leads = |state| self.leads_to(self.reach.step(state, b"/"), state) != 0;
        let may_lead = |state| self.leads_to(state, state) != 0;
        let names = self.reach.spelled(inside, leads, may_lead);
        let names = names.iter().map(|name| OsStr::from_bytes(name));
        names.map(|name| path.join(name)).collect()
    }

    /// Notes what rules spell out and let be made in a directory of the fence's own: somebody may look for it outside.
    fn note_lost(&mut self, spelled: &[PathBuf]) {
        let may_write = |path: &&PathBuf| {
            let state = self.reach.state(path.as_os_str().as_bytes());
            self.leads_to(self.reach.step(state, b"/"), state) & WRITE != 0
        };
        let is_missing = |path: &&PathBuf| fs::symlink_metadata(path).is_err();
        let lost = spelled.iter().filter(may_write).find(is_missing);
        self.gaps.lost = self.gaps.lost.take().or_else(|| lost.cloned());
    }
}

/// Gathers what stays.
struct Keeping<'a> {
    own: &'a mut OwnDirectory,
    root: &'a Path,
    /// Directories that stay with all below.
    trees: Vec<PathBuf>,
    /// Entries that were looked at for pipes and links.
    looked: usize,
}

impl<'a> Keeping<'a> {
    fn new(own: &'a mut OwnDirectory, root: &'a Path) -> Self {
        Self {
            own,
            root,
            trees: Vec::new(),
            looked: 0,
        }
    }

    /// Keeps what is granted; `None` if it would have more rights than that, since all in the directory may be read, written and listed,
    /// but for what a read-only mount keeps from being written.
    fn grant(&mut self, grant: &Grant) -> Option<()> {
        if grant.unmade != Unmade::Nothing {
            return None;
        }
        if self.is_in_a_tree(&grant.path) {
            return Some(());
        }
        if grant.directory {
            return match grant.rights & (READ | WRITE | EXEC | LIST) {
                LIST => self.way_to(&grant.path),
                rights if rights & READ != 0 && rights & LIST != 0 => {
                    self.trees.push(grant.path.clone());
                    let flags = if rights & WRITE == 0 { NODEV } else { 0 };
                    if flags != 0 && self.holds_pipes(&grant.path) {
                        return None;
                    }
                    self.entry(&grant.path, EntryKind::Tree, flags)
                }
                _ => None,
            };
        }
        // Gone since the walk: that denies more, not less.
        let Ok(found) = fs::symlink_metadata(&grant.path) else {
            return Some(());
        };
        let kind = found.file_type();
        // Reading an executable file comes with executing it.
        let reads = grant.rights & (READ | EXEC) != 0;
        let flags = match grant.rights & WRITE != 0 {
            // Sockets are neither opened nor reached by Landlock's rule about the directory.
            _ if kind.is_socket() => 0,
            true if reads => 0,
            false if kind.is_file() => RDONLY | NODEV,
            _ => return None,
        };
        self.entry(&grant.path, EntryKind::File, flags)
    }

    /// Keeps the way to a directory, if it is below.
    fn way_to(&mut self, directory: &Path) -> Option<()> {
        let is_below = directory != self.root && directory.starts_with(self.root);
        if !is_below || self.is_in_a_tree(directory) {
            return Some(());
        }
        self.part_of(directory).map(|_| ())
    }

    /// Whether there is a pipe below a directory, to which a read-only mount lets be written, or may be one: where a directory cannot be
    /// listed, or there is more than is looked at.
    fn holds_pipes(&mut self, directory: &Path) -> bool {
        // What cannot be listed can be entered all the same, by who knows a name in it.
        let Ok(listing) = fs::read_dir(directory) else {
            return true;
        };
        for entry in listing {
            self.looked += 1;
            let Ok(entry) = entry else {
                return true;
            };
            let kind = entry.file_type();
            let is_pipe = kind.as_ref().map_or(true, FileTypeExt::is_fifo);
            let is_directory = kind.is_ok_and(|kind| kind.is_dir());
            if self.looked > MOST_LOOKED
                || is_pipe
                || is_directory && self.holds_pipes(&entry.path())
            {
                return true;
            }
        }
        false
    }

    /// Symbolic links in directories of which a part stays; `None` if one cannot be looked into, or that is more than is looked at.
    fn links_on_ways(&mut self) -> Option<Vec<PathBuf>> {
        let ways = self.own.parts.iter().flat_map(|part| {
            let inner = part.entries.iter();
            let inner = inner.filter(|entry| entry.kind == EntryKind::Way);
            std::iter::once(&part.directory).chain(inner.map(|entry| &entry.path))
        });
        let mut links = Vec::new();
        for way in ways {
            for entry in fs::read_dir(OsStr::from_bytes(way.to_bytes())).ok()? {
                let entry = entry.ok()?;
                self.looked += 1;
                if entry.file_type().ok()?.is_symlink() {
                    links.push(entry.path());
                }
            }
        }
        (self.looked <= MOST_LOOKED).then_some(links)
    }

    fn link(&mut self, path: &Path) -> Option<()> {
        let Ok(target) = fs::read_link(path) else {
            return Some(());
        };
        self.entry(path, EntryKind::Link(c_path(&target).ok()?), 0)
    }

    fn is_in_a_tree(&self, path: &Path) -> bool {
        self.trees.iter().any(|tree| path.starts_with(tree))
    }

    fn entry(&mut self, path: &Path, kind: EntryKind, flags: u64) -> Option<()> {
        let entry = self.made(path, kind, flags)?;
        let above = path.parent().filter(|above| *above != self.root);
        let entries = match above {
            Some(above) => &mut self.part_of(above)?.entries,
            None => &mut self.own.kept,
        };
        if !entries.iter().any(|known| known.path == entry.path) {
            entries.push(entry);
        }
        Some(())
    }

    fn made(&self, path: &Path, kind: EntryKind, flags: u64) -> Option<Entry> {
        Some(Entry {
            path: c_path(path).ok()?,
            below: c_path(path.strip_prefix(self.root).ok()?).ok()?,
            kind,
            flags,
        })
    }

    /// The part that a directory lies in, or is, with the way there.
    fn part_of(&mut self, directory: &Path) -> Option<&mut Part> {
        let mut names = directory.strip_prefix(self.root).ok()?.components();
        let mut path = self.root.join(names.next()?);
        let top = c_path(&path).ok()?;
        let known = self.own.parts.iter().position(|part| part.directory == top);
        let number = known.unwrap_or_else(|| {
            self.own.parts.push(Part {
                directory: top,
                entries: Vec::new(),
            });
            self.own.parts.len() - 1
        });
        for name in names {
            path.push(name);
            let way = self.made(&path, EntryKind::Way, 0)?;
            let entries = &mut self.own.parts[number].entries;
            if !entries.iter().any(|known| known.path == way.path) {
                entries.push(way);
            }
        }
        self.own.parts.get_mut(number)
    }
}
