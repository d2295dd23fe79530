//! What the walk of the file system comes to: what to list for Landlock, what to mount, and where that is not what the
//! policy says.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::carve::Unmade;
use super::mounts::MountPlan;
use super::own_directory::OwnDirectory;
use super::view::View;

/// Listing a directory: in the policy that is reading the directory itself, for Landlock a right of its own.
pub(super) const LIST: u8 = 8;

/// What the walk found.
#[derive(Debug)]
pub(super) struct Found {
    /// Paths and their rights, of which `READ`, `WRITE` and `EXEC` hold for all below a directory.
    pub(super) grants: Vec<Grant>,
    /// What to mount; `None` if it would be too many places.
    pub(super) mounts: Option<MountPlan>,
    /// What of `/proc` is in sight, where it is one of the fence's own.
    pub(super) view: Option<View>,
    /// The directories that are to be the fence's own.
    pub(super) own: Vec<OwnDirectory>,
    /// What the mounts hide.
    pub(super) hidden: Vec<PathBuf>,
    /// Where and how this is not what the policy says.
    pub(super) gaps: Gaps,
}

/// One path to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) path: PathBuf,
    pub(super) rights: u8,
    pub(super) directory: bool,
    /// What `WRITE` does not include here.
    pub(super) unmade: Unmade,
}

/// Examples of what cannot be said; each is the first of its kind.
#[derive(Clone, Debug, Default)]
pub(in crate::confine) struct Gaps {
    /// Right to a directory in which a listed name does not exist yet, or a pattern may match one.
    pub(in crate::confine) later: HashMap<u8, PathBuf>,
    /// A directory that may be listed by the policy, but not without listing what is below.
    pub(in crate::confine) unlisted: Option<PathBuf>,
    /// A program that may be executed and not read: the loader opens it for reading.
    pub(in crate::confine) unreadable_program: Option<PathBuf>,
    /// Whether something is listed of processes in /proc, whose directories come and go.
    pub(in crate::confine) processes: bool,
    /// Whether something may be written where the kernel's settings are.
    pub(in crate::confine) settings: bool,
    /// A directory in which not everything can be made, because what is denied in it does not exist, and how that is said.
    pub(in crate::confine) unmade: Option<(PathBuf, &'static str)>,
    /// A directory that is executable as a whole, because the command makes what it may execute in it.
    pub(in crate::confine) programs: Option<PathBuf>,
    /// A directory whose own mode may not be changed, but below which everything may be written.
    pub(in crate::confine) edge: Option<PathBuf>,
    /// Directories that are the fence's own.
    pub(in crate::confine) own: Vec<&'static Path>,
    /// What a rule spells out and is not there yet in such a directory: made, it goes with the fence.
    pub(in crate::confine) lost: Option<PathBuf>,
}
