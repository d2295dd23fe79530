//! Mounts of the fence's own: everything read-only and not executable, but the listed places laid over it.
//!
//! Landlock sees neither `mmap(PROT_EXEC)` nor changes of mode, owner, times and attributes; mount flags close both.
//! The order keeps flags that were there before (a `/tmp` that is `noexec` stays so): listed places are cloned with
//! the flags they have, then the whole is closed, then the clones get what the policy takes from them and are put on
//! top. No flag is ever cleared, so locked mounts of a user namespace need no special case.

use std::ffi::{CStr, CString, c_int};
use std::fmt;
use std::mem::size_of;
use std::sync::atomic::{AtomicI32, Ordering};

use super::own_directory::OwnDirectory;
use super::own_proc::OwnProc;
use crate::confine::act::check;

// include/uapi/linux/mount.h
pub(super) const RDONLY: u64 = 1;
pub(super) const NOSUID: u64 = 2;
pub(super) const NODEV: u64 = 4;
pub(super) const NOEXEC: u64 = 8;
const OPEN_TREE_CLONE: c_int = 1;
const MOVE_MOUNT_F_EMPTY_PATH: c_int = 4;
/// No clone in this slot.
const NONE: i32 = -1;

/// `struct mount_attr` (5.12).
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// What to mount, in order: outer places before inner ones.
#[derive(Debug)]
pub(crate) struct MountPlan {
    everywhere: u64,
    places: Vec<Place>,
    hidden: Vec<Hidden>,
    frozen: Vec<CString>,
    own_proc: Option<OwnProc>,
    own: Vec<OwnDirectory>,
}

#[derive(Debug)]
struct Place {
    path: CString,
    set: u64,
    need: Need,
    clone: AtomicI32,
}

#[derive(Debug)]
struct Hidden {
    path: CString,
    kind: Kind,
    need: Need,
}

/// What is laid over something hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A directory that nobody may enter.
    Directory,
    /// A file that cannot be opened.
    File,
}

/// What becomes of a path that is gone when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::confine) enum Need {
    /// It is left out, which denies more, not less.
    IfPresent,
    /// The start fails: in its place something could be made that is denied.
    Always,
}

impl MountPlan {
    /// The plan for a tree whose root is writable or executable as said.
    pub(super) fn new(writable: bool, executable: bool) -> Self {
        Self {
            everywhere: attributes(writable, executable),
            places: Vec::new(),
            hidden: Vec::new(),
            frozen: Vec::new(),
            own_proc: None,
            own: Vec::new(),
        }
    }

    /// The plan that leaves everything as it is.
    pub(in crate::confine) fn everything_open() -> Self {
        Self::new(true, true)
    }

    /// The plan that lets nothing through, to find out whether such plans work here.
    pub(crate) fn everything_closed() -> Self {
        Self::new(false, false)
    }

    /// Lays `path` over the tree.
    pub(in crate::confine) fn push(
        &mut self,
        path: CString,
        writable: bool,
        executable: bool,
        need: Need,
    ) {
        self.places.push(Place {
            path,
            set: attributes(writable, executable),
            need,
            clone: AtomicI32::new(NONE),
        });
    }

    /// Lays something empty over `path`.
    pub(super) fn hide(&mut self, path: CString, kind: Kind, need: Need) {
        self.hidden.push(Hidden { path, kind, need });
    }

    /// Where its places are.
    pub(super) fn places(&self) -> impl Iterator<Item = &CStr> {
        self.places.iter().map(|place| place.path.as_c_str())
    }

    /// Makes the mount at `path` read-only, and the places in it: those by whose number `is_in_it` holds.
    pub(super) fn freeze(&mut self, path: CString, is_in_it: impl Fn(usize) -> bool) {
        for (number, place) in self.places.iter_mut().enumerate() {
            if is_in_it(number) {
                place.set |= RDONLY;
            }
        }
        self.frozen.push(path);
    }

    /// Leaves the mount at `path` as writable as it is.
    pub(in crate::confine) fn leave(&mut self, path: CString) {
        self.frozen.retain(|frozen| *frozen != path);
        self.push(path, true, false, Need::IfPresent);
    }

    /// Lets tasks of the fence look at themselves.
    pub(crate) fn show_own(&mut self, own_proc: OwnProc) {
        self.own_proc = Some(own_proc);
    }

    /// Gives the fence directories of its own.
    pub(super) fn give_own(&mut self, own: Vec<OwnDirectory>) {
        self.own = own;
    }

    /// Does it, in a mount namespace that is nobody else's. Runs between fork and exec.
    pub(crate) fn enter(&self) -> Result<(), c_int> {
        for place in &self.places {
            let clone = clone(&place.path)?;
            if clone == NONE && place.need == Need::Always {
                return Err(libc::ENOENT);
            }
            place.clone.store(clone, Ordering::Relaxed);
        }
        set(
            libc::AT_FDCWD,
            c"/".as_ptr(),
            libc::AT_RECURSIVE,
            self.everywhere,
        )?;
        for place in &self.places {
            let clone = place.clone.swap(NONE, Ordering::Relaxed);
            if clone != NONE {
                let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
                set(clone, c"".as_ptr(), flags, place.set)?;
                attach(clone, &place.path)?;
                // SAFETY: a descriptor that was opened above; the mount stays.
                unsafe { libc::close(clone) };
            }
        }
        let hidden = self.hidden.iter();
        cover_all(hidden.map(|hidden| (&hidden.path, hidden.kind, hidden.need)))?;
        for path in &self.frozen {
            match set(libc::AT_FDCWD, path.as_ptr(), 0, RDONLY) {
                // Out of this user's reach, or covered by now.
                Ok(()) | Err(libc::ENOENT | libc::ENOTDIR | libc::EACCES) => {}
                Err(errno) => return Err(errno),
            }
        }
        if let Some(own_proc) = &self.own_proc {
            own_proc.attach()?;
        }
        self.own.iter().try_for_each(OwnDirectory::attach)
    }
}

impl fmt::Display for MountPlan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "mounts: / {}", words(self.everywhere))?;
        for place in &self.places {
            write!(
                out,
                ", {} {}",
                place.path.to_string_lossy(),
                words(place.set)
            )?;
        }
        for hidden in &self.hidden {
            write!(out, ", {} hidden", hidden.path.to_string_lossy())?;
        }
        for path in &self.frozen {
            write!(out, ", {} ro", path.to_string_lossy())?;
        }
        if let Some(own_proc) = &self.own_proc {
            let place = if own_proc.is_over() {
                "/proc"
            } else {
                "/proc/self"
            };
            write!(out, ", {place} of its own")?;
        }
        self.own.iter().try_for_each(|own| write!(out, ", {own}"))
    }
}

const fn attributes(writable: bool, executable: bool) -> u64 {
    (if writable { 0 } else { RDONLY }) | (if executable { 0 } else { NOEXEC })
}

const fn words(set: u64) -> &'static str {
    match (set & RDONLY == 0, set & NOEXEC == 0) {
        (true, true) => "as it is",
        (true, false) => "noexec",
        (false, true) => "ro",
        (false, false) => "ro,noexec",
    }
}

/// Lays something empty over each path that is there.
pub(super) fn cover<'a>(hidden: impl Iterator<Item = (&'a CString, Kind)>) -> Result<(), c_int> {
    cover_all(hidden.map(|(path, kind)| (path, kind, Need::IfPresent)))
}

fn cover_all<'a>(hidden: impl Iterator<Item = (&'a CString, Kind, Need)>) -> Result<(), c_int> {
    // Only what is mounted can be cloned (before 6.15): the first empty directory is where the others come from.
    let mut source: Option<&CString> = None;
    for (path, kind, need) in hidden {
        let cover = match (kind, source) {
            (Kind::File, _) => closed_file()?,
            (Kind::Directory, Some(source)) => clone(source)?,
            (Kind::Directory, None) => empty()?,
        };
        let attached = attach(cover, path);
        // SAFETY: a descriptor that was just opened; the mount stays.
        unsafe { libc::close(cover) };
        match (attached, need) {
            (Ok(()), _) if kind == Kind::Directory => {
                source.get_or_insert(path);
            }
            (Ok(()), _) | (Err(libc::ENOENT | libc::ENOTDIR), Need::IfPresent) => {}
            (Err(errno), _) => return Err(errno),
        }
    }
    Ok(())
}

/// A detached copy of what is mounted at `path`; [`NONE`] if there is nothing any more, which denies more, not less.
fn clone(path: &CStr) -> Result<i32, c_int> {
    match clone_at(libc::AT_FDCWD, path) {
        Err(libc::ENOENT | libc::ENOTDIR) => Ok(NONE),
        other => other,
    }
}

/// The same of a path below a descriptor, of which there has to be something.
pub(super) fn clone_at(directory: i32, path: &CStr) -> Result<i32, c_int> {
    open_tree(directory, path, libc::AT_SYMLINK_NOFOLLOW)
}

/// The same of what a descriptor is of.
pub(super) fn clone_of(file: i32) -> Result<i32, c_int> {
    open_tree(file, c"", libc::AT_EMPTY_PATH)
}

fn open_tree(directory: i32, path: &CStr, flags: c_int) -> Result<i32, c_int> {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | libc::AT_RECURSIVE | flags;
    // SAFETY: a C string that the caller owns, and flags.
    let clone = unsafe { libc::syscall(libc::SYS_open_tree, directory, path.as_ptr(), flags) };
    check(clone)?;
    Ok(i32::try_from(clone).unwrap_or(NONE))
}

/// Adds flags to a mount, and takes it out of every peer group.
pub(super) fn set(at: i32, path: *const libc::c_char, flags: c_int, set: u64) -> Result<(), c_int> {
    let attributes = MountAttributes {
        set,
        clear: 0,
        propagation: libc::MS_PRIVATE,
        user_namespace: 0,
    };
    // SAFETY: a C string that the caller owns, and a structure on this stack of the size that is given.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at,
            path,
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    })
}

pub(super) fn attach(clone: i32, path: &CStr) -> Result<(), c_int> {
    // SAFETY: C strings that live for ever and that the plan owns, a descriptor and flags.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            clone,
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
}

/// A detached mount of a file that nobody can open: a device where devices are not served (fs/namei.c, 6.12:
/// `may_open_dev`).
fn closed_file() -> Result<i32, c_int> {
    let clone = clone(c"/dev/null")?;
    if clone == NONE {
        return Err(libc::ENOENT);
    }
    set(
        clone,
        c"".as_ptr(),
        libc::AT_EMPTY_PATH,
        RDONLY | NODEV | NOEXEC,
    )?;
    Ok(clone)
}

/// A detached mount of an empty directory that stays empty, and that nobody may enter or list: denied, not gone.
fn empty() -> Result<i32, c_int> {
    new(c"tmpfs", &[(c"mode", c"0")], RDONLY | NOEXEC)
}

/// A detached mount of a new file system.
pub(super) fn new(kind: &CStr, options: &[(&CStr, &CStr)], flags: u64) -> Result<i32, c_int> {
    const CLOSE_ON_EXEC: c_int = 1;
    const FSCONFIG_SET_STRING: c_int = 1;
    const FSCONFIG_CMD_CREATE: c_int = 6;
    // SAFETY: a C string that the caller owns, and flags.
    let context = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), CLOSE_ON_EXEC) };
    check(context)?;
    let made = (|| {
        for (key, value) in options {
            let (key, value) = (key.as_ptr(), value.as_ptr());
            // SAFETY: C strings that the caller owns.
            check(unsafe {
                libc::syscall(
                    libc::SYS_fsconfig,
                    context,
                    FSCONFIG_SET_STRING,
                    key,
                    value,
                    0,
                )
            })?;
        }
        let none = std::ptr::null::<libc::c_void>();
        // SAFETY: a command without arguments.
        check(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                context,
                FSCONFIG_CMD_CREATE,
                none,
                none,
                0,
            )
        })?;
        // SAFETY: numbers only; the attributes of fsmount are those of mount_setattr.
        let mount = unsafe { libc::syscall(libc::SYS_fsmount, context, CLOSE_ON_EXEC, flags) };
        check(mount)?;
        Ok(i32::try_from(mount).unwrap_or(NONE))
    })();
    let context = i32::try_from(context).unwrap_or(NONE);
    // SAFETY: a descriptor that was opened above.
    unsafe { libc::close(context) };
    made
}
