//! Which acts a launch under this engine would let pass: what was derived, asked act by act.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ringfence_abi::rights::{READ, WRITE};
use ringfence_abi::surface::KERNEL_FILES;

use super::carve::Unmade;
use super::found::{Found, LIST};
use super::own_directory::OwnDirectory;
use super::{own_proc, walk};
use crate::confine::error::Error;
use crate::confine::mountinfo;
use crate::confine::probe::{Namespaces, Probe};
use crate::confine::standings::{self, UnixSockets};
use crate::policy::Policy;

/// An act that a policy allows.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// On which path.
    pub path: &'a Path,
    /// With which rights ([`ringfence_abi::rights`]).
    pub rights: u8,
    /// Whether a directory was listed.
    pub lists: bool,
    /// Whether a name came or went.
    pub makes: bool,
    /// Whether one went that was there, or may have.
    pub removes: bool,
}

/// What the fallback engine lets pass under a policy.
#[derive(Debug)]
pub struct Kept {
    rights: HashMap<PathBuf, u8>,
    hidden: Vec<PathBuf>,
    own: Vec<Own>,
    own_proc: bool,
    /// Whether all that the policy lets be read in `/proc` is in sight.
    lists_tasks: bool,
    kernel_files: bool,
    unix_sockets: bool,
}

/// A directory of the fence's own.
#[derive(Debug)]
struct Own {
    path: &'static Path,
    rights: u8,
    /// What lies in it by a name that rules spell out, and was there.
    fixed: Vec<PathBuf>,
}

impl From<OwnDirectory> for Own {
    fn from(own: OwnDirectory) -> Self {
        let is_there = |path: &PathBuf| fs::symlink_metadata(path).is_ok();
        Self {
            path: own.place.path(),
            rights: own.rights(),
            fixed: own.spelled.into_iter().filter(is_there).collect(),
        }
    }
}

impl Own {
    /// Its rights, where they are not those of something that is mounted into it. What a pattern matches now is of the run that was
    /// looked at: the next one draws other names.
    fn gives(&self, act: Act<'_>) -> u8 {
        let is_below = act.path.starts_with(self.path) && (act.lists || act.path != self.path);
        // Where a name came, it is there by now or comes in this directory; what is mounted does not go.
        let came = act.makes && !act.removes;
        let mut fixed = self.fixed.iter();
        let is_fixed =
            fixed.any(|fixed| act.path.starts_with(fixed) && !(came && act.path == fixed));
        match (is_below, is_fixed) {
            (false, _) => 0,
            (true, false) => self.rights,
            (true, true) => LIST,
        }
    }
}

impl Kept {
    /// Derives it as a launch in `directory` would.
    ///
    /// # Errors
    /// If the engine cannot hold the policy at all.
    pub fn new(policy: &Policy, probe: &Probe, directory: &Path) -> Result<Self, Error> {
        let possible = !matches!(probe.namespaces, Namespaces::None { .. });
        let mounts = mountinfo::mounts()?;
        let own = super::own(policy, probe, &mounts);
        let Found {
            grants,
            hidden,
            view,
            own: directories,
            ..
        } = walk::walk(
            &policy.files.automaton,
            possible,
            own,
            super::maker(policy, probe.uid),
            &mounts,
            directory,
        )?;
        let mut rights: HashMap<PathBuf, u8> = HashMap::new();
        for grant in grants {
            // Where not everything can be made, what is made may be what cannot.
            let held = match grant.unmade {
                Unmade::Nothing => grant.rights,
                Unmade::Directories | Unmade::Anything => grant.rights & !WRITE,
            };
            *rights.entry(grant.path).or_default() |= held;
        }
        Ok(Self {
            rights,
            hidden,
            own: directories.into_iter().map(Own::from).collect(),
            lists_tasks: view.is_some(),
            own_proc: view.is_some() || own_proc::beside(policy, probe).is_some(),
            kernel_files: policy.kernel.contains(KERNEL_FILES),
            unix_sockets: standings::unix_sockets(policy, probe) != UnixSockets::Nobody,
        })
    }

    /// Whether Unix sockets can be made.
    #[must_use]
    pub fn unix_sockets(&self) -> bool {
        self.unix_sockets
    }

    /// Whether an act that the policy allows passes.
    #[must_use]
    pub fn passes(&self, act: Act<'_>) -> bool {
        let mut needed = act.rights;
        if let Ok(inside) = act.path.strip_prefix("/proc")
            && let Some(first) = inside.components().next()
        {
            if needed & WRITE != 0 && !self.kernel_files {
                return false;
            }
            if self.lists_tasks {
                return true;
            }
            let name = first.as_os_str().as_bytes();
            if self.own_proc && !name.is_empty() && name.iter().all(u8::is_ascii_digit) {
                return true;
            }
        }
        if self.lists_tasks && act.path == Path::new("/proc") {
            return true;
        }
        if act.lists {
            needed = needed & !READ | LIST;
        }
        if self
            .hidden
            .iter()
            .any(|hidden| act.path.starts_with(hidden))
        {
            return false;
        }
        // A name that comes or goes is its directory's; what it has itself was listed for what is there now.
        let own = self.rights.get(act.path).filter(|_| !act.makes);
        let above = act.path.ancestors().skip(1);
        let held = above
            .filter_map(|directory| self.rights.get(directory))
            .chain(own)
            .fold(0, |held, rights| held | rights);
        let held = self
            .own
            .iter()
            .fold(held, |held, own| held | own.gives(act));
        needed & !held == 0
    }
}

#[cfg(test)]
mod tests {
    use ringfence_abi::rights::EXEC;

    use super::*;

    fn act(path: &str, rights: u8) -> Act<'_> {
        Act {
            path: Path::new(path),
            rights,
            lists: false,
            makes: false,
            removes: false,
        }
    }

    fn kept(rights: &[(&str, u8)], own_proc: bool) -> Kept {
        let rights = rights.iter().map(|&(path, rights)| (path.into(), rights));
        Kept {
            rights: rights.collect(),
            hidden: vec!["/a/hidden".into()],
            own: Vec::new(),
            own_proc,
            lists_tasks: false,
            kernel_files: false,
            unix_sockets: false,
        }
    }

    #[test]
    fn what_a_directory_has_holds_for_all_below_but_what_is_hidden() {
        let kept = kept(&[("/a", READ | LIST), ("/b/file", READ | WRITE)], false);
        assert!(kept.passes(act("/a/x/y", READ)));
        assert!(!kept.passes(act("/a/x/y", WRITE)));
        assert!(!kept.passes(act("/a/hidden/y", READ)));
        assert!(!kept.passes(act("/ab", READ)));
        assert!(kept.passes(act("/b/file", WRITE)));
    }

    #[test]
    fn a_name_that_comes_or_goes_needs_its_directory_and_listing_a_right_of_its_own() {
        let kept = kept(&[("/a", READ), ("/b/file", WRITE), ("/c", WRITE)], false);
        let makes = |path| Act {
            makes: true,
            ..act(path, WRITE)
        };
        assert!(!kept.passes(makes("/b/file")));
        assert!(kept.passes(makes("/c/file")));
        let lists = Act {
            lists: true,
            ..act("/a", READ)
        };
        assert!(!kept.passes(lists));
    }

    #[test]
    fn of_processes_only_reading_oneself_passes() {
        for own_proc in [false, true] {
            let kept = kept(&[("/proc/cpuinfo", READ)], own_proc);
            assert_eq!(kept.passes(act("/proc/12/maps", READ)), own_proc);
            assert!(!kept.passes(act("/proc/12/oom_score_adj", WRITE)));
            assert!(kept.passes(act("/proc/cpuinfo", READ)));
        }
    }

    #[test]
    fn in_a_directory_of_the_fences_own_all_passes_but_in_what_was_there_by_its_name() {
        let mut kept = kept(&[("/tmp/in", READ | LIST)], false);
        kept.own.push(Own {
            path: Path::new("/tmp"),
            rights: READ | WRITE | LIST,
            fixed: vec!["/tmp/in".into()],
        });
        let makes = |path| Act {
            makes: true,
            ..act(path, WRITE)
        };
        assert!(kept.passes(makes("/tmp/drawn")));
        assert!(kept.passes(act("/tmp/drawn/file", READ | WRITE)));
        assert!(kept.passes(act("/tmp/in/file", READ)));
        for denied in ["/tmp/in/file", "/tmpx", "/tmp"] {
            assert!(!kept.passes(makes(denied)), "{denied}");
        }
        assert!(kept.passes(makes("/tmp/in")));
        let removes = Act {
            removes: true,
            ..makes("/tmp/in")
        };
        assert!(!kept.passes(removes));
        assert!(!kept.passes(act("/tmp/drawn", EXEC)));
        let lists = Act {
            lists: true,
            ..act("/tmp", READ)
        };
        assert!(kept.passes(lists));
    }
}
