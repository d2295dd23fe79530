//! A container's root, seen from outside: its links lead to where they would lead inside, and never to the host's files.

use std::{
    ffi::OsStr,
    fs::File,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, ffi::OsStringExt as _, fs::OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat},
};

use super::Error;

/// What a path in a container names, links not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or nothing that can be seen.
    Missing,
    /// A directory.
    Directory,
    /// A symbolic link with this target.
    Link(Vec<u8>),
    /// Anything else.
    Other,
}

/// A container's root directory.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
}

impl Root {
    /// The directory `path`, as process `pid` sees it before it makes it its root: with what has been mounted in it.
    ///
    /// # Errors
    /// If it is not there.
    pub fn of(pid: i32, path: &Path) -> Result<Self, Error> {
        let seen = PathBuf::from(format!("/proc/{pid}/root"));
        let above = File::options()
            .read(true)
            .custom_flags(libc_flags())
            .open(&seen)
            .map_err(Error::file("open", &seen))?;
        let how = how(OFlag::O_PATH | OFlag::O_DIRECTORY);
        let directory = openat2(above.as_fd(), below(path), how)
            .map_err(|errno| Error::file("open", path)(errno.into()))?;
        Ok(Self { directory })
    }

    /// What is at `path`, which is absolute and has no link before its last name.
    ///
    /// A link that leads over the edge of a mount counts as something that is no link: an image may hold a link to where a
    /// volume of the host's will be, and must not lead a rule there.
    #[must_use]
    pub fn look(&self, path: &[u8]) -> Found {
        let below = below(Path::new(OsStr::from_bytes(path)));
        let Ok(entry) = self.open(below, OFlag::O_NOFOLLOW, ResolveFlag::empty()) else {
            return Found::Missing;
        };
        let Ok(metadata) = entry.metadata() else {
            return Found::Missing;
        };
        if metadata.is_dir() {
            return Found::Directory;
        }
        if !metadata.is_symlink() {
            return Found::Other;
        }
        let inside = self.open(below, OFlag::empty(), ResolveFlag::RESOLVE_NO_XDEV);
        if inside.is_err_and(|errno| !matches!(errno, Errno::ENOENT | Errno::ENOTDIR)) {
            return Found::Other;
        }
        readlinkat(entry.as_fd(), "")
            .map_or(Found::Missing, |target| Found::Link(target.into_vec()))
    }

    /// The regular file at `path`, opened for reading, links not followed: opening anything else could do something.
    #[must_use]
    pub fn regular_file(&self, path: &Path) -> Option<File> {
        let found = self.open(
            below(path),
            OFlag::O_NOFOLLOW,
            ResolveFlag::RESOLVE_NO_SYMLINKS,
        );
        let found = found.ok()?;
        let is_regular = found.metadata().ok()?.is_file();
        let again = format!("/proc/self/fd/{}", found.as_raw_fd());
        is_regular.then(|| File::open(again).ok())?
    }

    fn open(&self, path: &Path, flags: OFlag, resolve: ResolveFlag) -> Result<File, Errno> {
        let how = how(OFlag::O_PATH | flags).resolve(resolving().union(resolve));
        openat2(self.directory.as_fd(), path, how).map(File::from)
    }
}

/// `..` and absolute links end at the directory, and links of procfs are none (openat2(2)).
fn resolving() -> ResolveFlag {
    ResolveFlag::RESOLVE_IN_ROOT.union(ResolveFlag::RESOLVE_NO_MAGICLINKS)
}

/// A path from the root on, as one that starts there.
fn below(path: &Path) -> &Path {
    match path.strip_prefix("/").unwrap_or(path) {
        empty if empty.as_os_str().is_empty() => Path::new("."),
        below => below,
    }
}

fn how(flags: OFlag) -> OpenHow {
    OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(resolving())
}

fn libc_flags() -> i32 {
    (OFlag::O_PATH | OFlag::O_DIRECTORY).bits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn links_never_lead_out_of_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("rootfs");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(folder.path().join("secret"), "x").unwrap();
        symlink("../../../../secret", root.join("out")).unwrap();
        symlink("/etc", root.join("in")).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let root = Root::of(pid, &root).unwrap();
        assert_eq!(root.look(b"/"), Found::Directory);
        assert_eq!(root.look(b"/.."), Found::Directory);
        assert_eq!(root.look(b"/etc"), Found::Directory);
        assert_eq!(root.look(b"/in"), Found::Link(b"/etc".to_vec()));
        assert_eq!(root.look(b"/secret"), Found::Missing);
        assert_eq!(root.look(b"/../secret"), Found::Missing);
    }

    #[test]
    fn a_container_whose_root_is_its_own_already_has_one() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let root = Root::of(pid, Path::new("/")).unwrap();
        assert_eq!(root.look(b"/proc"), Found::Directory);
    }

    #[test]
    fn a_regular_file_is_opened_and_nothing_else() {
        use std::io::Read as _;
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "x").unwrap();
        symlink("file", folder.path().join("link")).unwrap();
        nix::unistd::mkfifo(&folder.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let root = Root::of(pid, folder.path()).unwrap();
        let open = |name: &str| root.regular_file(Path::new(name));
        let mut text = String::new();
        open("/file").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        for name in ["/link", "/pipe", "/none", "/"] {
            assert!(open(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_root_that_is_not_there_is_an_error() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(Root::of(pid, Path::new("/no/such/root")).is_err());
    }
}
