//! The automaton against the file system as it is now: which directories and files to list for Landlock, and where
//! mounts have to let more through than elsewhere.
//!
//! A Landlock rule on a directory holds for everything below, so a directory gets the rights that *every* path below
//! has, future ones included, and the rest is spelled out from what exists. That denies more than the policy where
//! something listed is made later; it never allows more.

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::statvfs::{FsFlags, statvfs};
use ringfence_abi::rights::{EXEC, READ, WRITE};

use super::carve::{Unmade, carve};
use super::found::{Found, Gaps, Grant, LIST};
use super::mounts::{Kind, MountPlan, Need};
use super::own_directory::OwnDirectory;
use super::reach::{Ahead, Reach};
use super::view::View;
use crate::confine::error::Error;
use crate::confine::mountinfo::Mount;
use crate::policy::Automaton;

/// Most directory entries that are looked at.
const MOST_ENTRIES: usize = 50_000;
/// Longest time to look at them: on a busy machine, tens of times what it takes.
const MOST_TIME: Duration = Duration::from_secs(10);
/// Most places to mount: each takes a descriptor for a moment.
const MOST_MOUNTS: usize = 512;
/// Most directories to hide so that the ones around them can be listed.
const MOST_HIDDEN: usize = 2048;

/// Walks the file system. With `hide`, a directory that may be listed is, at the price of hiding those in it that
/// have no right at all by a mount; one that `stay` is in is not hidden. What is `own` will be the fence's own. `maker` is the user who
/// gives names in it, if whatever that one can read may be executed under another name; `mounts` is what is mounted.
///
/// # Errors
/// If that would take too long.
pub(super) fn walk(
    automaton: &Automaton,
    hide: bool,
    own: Own,
    maker: Option<u32>,
    mounts: &[Mount],
    stay: &Path,
) -> Result<Found, Error> {
    let mut walk = Walk {
        reach: Reach::new(automaton),
        hide,
        own,
        maker,
        mounts,
        view: None,
        owned: Vec::new(),
        stay,
        candidates: Vec::new(),
        hidden: Vec::new(),
        carved: Vec::new(),
        relies_on_mounts: false,
        listed: Vec::new(),
        grants: Vec::new(),
        places: Vec::new(),
        gaps: Gaps::default(),
        entries: 0,
        deadline: Instant::now() + MOST_TIME,
    };
    let state = automaton.state(b"/");
    let root = walk.directory(Path::new("/"), state, state, Granted::default())?;
    walk.gaps.settings = [b"/proc/".as_slice(), b"/sys/"]
        .iter()
        .any(|place| walk.reach.ahead(automaton.state(place)).any & WRITE != 0);
    let hidden = walk.hidden.len() + walk.carved.len();
    let fits = walk.places.len() <= MOST_MOUNTS && hidden <= MOST_HIDDEN;
    if !fits && (walk.relies_on_mounts || walk.view.is_some() || !walk.owned.is_empty()) {
        return self::walk(automaton, false, Own::default(), maker, mounts, stay);
    }
    if fits {
        walk.grants.append(&mut walk.listed);
    } else if let Some(grant) = walk.listed.pop() {
        walk.gaps.unlisted.get_or_insert(grant.path);
    }
    let covered = walk
        .hidden
        .iter()
        .chain(walk.carved.iter().map(|(path, _)| path));
    let covered = covered
        .filter(|_| fits)
        .map(|path| OsStr::from_bytes(path.to_bytes()).into())
        .collect();
    let mounts = fits.then(|| {
        let mut plan = MountPlan::new(root.writable, root.executable);
        for path in walk.hidden {
            plan.hide(path, Kind::Directory, Need::IfPresent);
        }
        for (path, kind) in walk.carved {
            plan.hide(path, kind, Need::Always);
        }
        for place in walk.places {
            plan.push(place.path, place.writable, place.executable, place.need);
        }
        plan
    });
    Ok(Found {
        grants: walk.grants,
        mounts,
        view: walk.view,
        own: walk.owned,
        hidden: covered,
        gaps: walk.gaps,
    })
}

/// What will be a file system of the fence's own, if the policy is about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// `/proc`.
    pub(super) proc: bool,
    /// Directories where names may be made by a pattern, if they are [`super::own_directory::PLACES`].
    pub(super) directories: bool,
}

struct Walk<'a> {
    reach: Reach<'a>,
    hide: bool,
    own: Own,
    maker: Option<u32>,
    mounts: &'a [Mount],
    view: Option<View>,
    owned: Vec<OwnDirectory>,
    stay: &'a Path,
    /// Directories without any right, hidden if a directory above comes to be listed.
    candidates: Vec<CString>,
    hidden: Vec<CString>,
    /// What is denied in a directory that is granted as a whole.
    carved: Vec<(CString, Kind)>,
    /// Whether something is granted that a mount has to close.
    relies_on_mounts: bool,
    /// Directories that are listed because something in them is hidden.
    listed: Vec<Grant>,
    grants: Vec<Grant>,
    places: Vec<Place>,
    gaps: Gaps,
    entries: usize,
    deadline: Instant,
}

struct Place {
    path: CString,
    writable: bool,
    executable: bool,
    need: Need,
}

/// What holds at a place because of something above it.
#[derive(Clone, Copy, Default)]
struct Granted {
    rights: u8,
    writable: bool,
    executable: bool,
}

/// What a directory came to.
#[derive(Clone, Copy, Default)]
struct Summary {
    writable: bool,
    executable: bool,
    /// Something in it may be read and not executed, so it may not be mounted executable as a whole.
    data: bool,
    /// Listing it would show what may not be seen.
    private: bool,
}

impl Summary {
    fn add(&mut self, child: Self) {
        self.data |= child.data;
        self.private |= child.private;
    }
}

impl Walk<'_> {
    /// `own` is the state of the path itself, `inside` the state after its slash.
    fn directory(
        &mut self,
        path: &Path,
        own: u32,
        inside: u32,
        above: Granted,
    ) -> Result<Summary, Error> {
        if self.own.proc && path == Path::new("/proc") {
            return self.processes(path, inside);
        }
        if self.is_made_own(path, inside, above)? {
            return Ok(Summary {
                data: true,
                ..Summary::default()
            });
        }
        let own_rights = self.reach.rights(own);
        let below = self.reach.ahead(inside);
        let carvable = self.hide && (below.any & !below.all & !above.rights) & WRITE != 0;
        let carving = carvable.then(|| carve(&self.reach, path, inside)).flatten();
        let mut most = carving.as_ref().map_or(below.all, |carving| carving.rights);
        if carving.is_none() && self.makes_programs(path, &below, above) {
            most |= EXEC;
        }
        let mut rights = most;
        if rights & own_rights & READ != 0 {
            rights |= LIST;
        }
        let unmade = carving
            .as_ref()
            .map_or(Unmade::Nothing, |carving| carving.unmade);
        self.grant(path, rights & !above.rights, true, unmade);
        let here = Granted {
            rights: rights | above.rights,
            writable: above.writable || most & WRITE != 0,
            executable: above.executable || most & EXEC != 0,
        };
        self.note_directory(path, own_rights, &below, above);
        let first_place = self.places.len();
        let first_candidate = self.candidates.len();
        if (here.writable, here.executable) != (above.writable, above.executable) {
            self.place(path, here, Need::IfPresent)?;
        }
        if let Some(carving) = carving {
            self.close(path, carving, here)?;
        }
        let mut summary = Summary {
            writable: here.writable,
            executable: here.executable,
            data: most & READ != 0 && most & EXEC == 0,
            private: false,
        };
        let to_list = self.hide && own_rights & READ != 0 && here.rights & LIST == 0;
        if to_list || Self::wanted(&below, here.rights) != 0 {
            let inner = self.children(path, inside, here, to_list)?;
            summary.data |= inner.data;
            summary.private = inner.private;
            if !summary.executable && !summary.data {
                self.fold(path, first_place, here)?;
            }
        }
        if here.rights & LIST == 0 {
            summary.private =
                self.list_or_hide(path, own_rights, &below, summary.private, first_candidate)?;
        }
        Ok(summary)
    }

    /// Whether the command can execute whatever can be read in a directory, under a name that it gives it: all in there can be read and
    /// made, and some of it executed. Then it is executable as a whole: a mount on what may be executed could neither be removed nor
    /// replaced, which the policy allows, and what is not there yet cannot be listed. Only where the names are the user's to give.
    fn makes_programs(&mut self, path: &Path, below: &Ahead, above: Granted) -> bool {
        let makes = below.all & (READ | WRITE) == READ | WRITE && below.whole;
        let is_below = |mount: &Mount| mount.point != path && mount.point.starts_with(path);
        if !makes
            || (below.all | above.rights) & EXEC != 0
            || !self.maker.is_some_and(|user| belongs_to(path, user))
            // What is mounted there can neither be renamed nor, perhaps, written.
            || self.mounts.iter().any(is_below)
        {
            return false;
        }
        self.gaps.programs.get_or_insert_with(|| path.to_path_buf());
        true
    }

    /// Whether names may be made in a directory by a pattern, and not all names.
    fn draws_names(&self, inside: u32, above: Granted) -> bool {
        let below = self.reach.ahead(inside);
        (below.any & !below.all & !above.rights) & WRITE != 0
            && self.names(inside, READ | LIST | EXEC).is_none()
    }

    /// Lists a directory that may be, if what is below can be hidden; true if nothing of that works.
    fn list_or_hide(
        &mut self,
        path: &Path,
        own: u8,
        below: &Ahead,
        private: bool,
        first: usize,
    ) -> Result<bool, Error> {
        if own & READ == 0 {
            self.candidates.truncate(first);
            let hideable = self.hide && below.any == 0 && !self.stay.starts_with(path);
            if hideable {
                self.candidates.push(c_path(path)?);
            }
            return Ok(!hideable);
        }
        if !self.hide || private {
            self.gaps.unlisted.get_or_insert_with(|| path.to_path_buf());
            self.candidates.truncate(first);
            return Ok(true);
        }
        self.hidden.extend(self.candidates.drain(first..));
        self.listed.push(Grant {
            path: path.to_path_buf(),
            rights: LIST,
            directory: true,
            unmade: Unmade::Nothing,
        });
        Ok(false)
    }

    /// Rights that something below has and that are not granted yet.
    fn wanted(below: &Ahead, granted: u8) -> u8 {
        let mut any = below.any;
        if any & READ != 0 {
            any |= LIST;
        }
        any & !granted
    }

    /// Everything in a directory, or with `every` unset what has a right in it; `data` and `private` come of it.
    fn children(
        &mut self,
        path: &Path,
        inside: u32,
        here: Granted,
        every: bool,
    ) -> Result<Summary, Error> {
        let mut summary = Summary::default();
        let missing = Self::wanted(&self.reach.ahead(inside), here.rights);
        let in_proc = path == Path::new("/proc");
        let mut names = self.names(inside, here.rights);
        // Processes come and go: what exists now will not be the command's. Who lists all of them is slow where there are many.
        let tasks = names.is_none() && in_proc && self.leads_to_tasks(inside, here.rights);
        if tasks {
            self.gaps.processes = true;
            let begins = |byte: u8| !byte.is_ascii_digit();
            names = self.names_beginning(begins, inside, here.rights);
        }
        let names = names.map(|names| {
            let look = |name: Vec<u8>| {
                let child = path.join(OsStr::from_bytes(&name));
                let kind = fs::symlink_metadata(&child).map(|found| found.file_type());
                (child, name, kind.ok())
            };
            names.into_iter().map(look).collect::<Vec<_>>()
        });
        let is_there = |(.., kind): &(_, _, Option<fs::FileType>)| kind.is_some();
        let are_all_there = |names: &Vec<_>| !tasks && names.iter().all(is_there);
        if !names.as_ref().is_some_and(are_all_there) {
            self.note_later(path, missing);
        }
        if let Some(names) = names
            && !every
        {
            // Not all of the directory was looked at.
            summary.private = true;
            for (child, name, kind) in names {
                if let Some(kind) = kind {
                    summary.add(self.child(&child, &name, inside, kind, here)?);
                }
            }
            return Ok(summary);
        }
        // A directory that cannot be read by the caller cannot be read by the command either, or is reported above.
        let Ok(listing) = fs::read_dir(path) else {
            summary.private = true;
            return Ok(summary);
        };
        for entry in listing.flatten() {
            self.count(path)?;
            let name = entry.file_name();
            if in_proc && name.as_bytes().iter().all(u8::is_ascii_digit) {
                self.gaps.processes = true;
                summary.private = true;
                continue;
            }
            if let Ok(kind) = entry.file_type() {
                summary.add(self.child(&entry.path(), name.as_bytes(), inside, kind, here)?);
            }
        }
        Ok(summary)
    }

    fn child(
        &mut self,
        path: &Path,
        name: &[u8],
        inside: u32,
        kind: fs::FileType,
        here: Granted,
    ) -> Result<Summary, Error> {
        let own = self.reach.step(inside, name);
        if kind.is_dir() {
            let deeper = self.reach.step(own, b"/");
            return self.directory(path, own, deeper, here);
        }
        // The policy is about where links lead.
        if kind.is_symlink() {
            return Ok(Summary::default());
        }
        let rights = self.reach.rights(own);
        self.grant(path, rights & !here.rights, false, Unmade::Nothing);
        if rights & EXEC != 0 && rights & READ == 0 {
            self.gaps
                .unreadable_program
                .get_or_insert_with(|| path.to_path_buf());
        }
        // Devices, sockets and pipes are written to on read-only mounts as well.
        let special =
            kind.is_char_device() || kind.is_block_device() || kind.is_socket() || kind.is_fifo();
        let wanted = Granted {
            rights,
            writable: here.writable || rights & WRITE != 0,
            executable: here.executable || rights & EXEC != 0,
        };
        if !special && (wanted.writable, wanted.executable) != (here.writable, here.executable) {
            self.place(path, wanted, Need::IfPresent)?;
        }
        Ok(Summary {
            data: !special && rights & READ != 0 && rights & EXEC == 0,
            ..Summary::default()
        })
    }

    fn count(&mut self, path: &Path) -> Result<(), Error> {
        self.entries += 1;
        let limit = if self.entries > MOST_ENTRIES {
            format!("{MOST_ENTRIES} entries")
        } else if self.entries.is_multiple_of(64) && Instant::now() > self.deadline {
            format!("{} s of looking", MOST_TIME.as_secs())
        } else {
            return Ok(());
        };
        Err(Error::WalkTooLarge {
            path: path.to_path_buf(),
            limit,
        })
    }
}

/// Whether a directory is the user's own, to make and remove names in, as far as modes and mounts go.
fn belongs_to(path: &Path, user: u32) -> bool {
    let modes = fs::symlink_metadata(path);
    let is_the_users =
        modes.is_ok_and(|found| found.uid() == user && found.mode() & 0o300 == 0o300);
    let closed = FsFlags::ST_RDONLY | FsFlags::ST_NOEXEC;
    is_the_users && statvfs(path).is_ok_and(|mount| !mount.flags().intersects(closed))
}

fn c_path(path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::Nul {
        what: "a path",
        value: path.as_os_str().to_owned(),
    })
}

mod give;
mod names;
mod own;
mod processes;
#[cfg(test)]
mod tests;
