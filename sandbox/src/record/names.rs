//! Names that a program passed, resolved after the fact.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

/// Where `passed` leads: a directory that the kernel named, a slash, and a name in whatever form the program chose. Links
/// in all but the last name are followed, in the last one if `follow`; `process` is whose `/proc/self` is meant.
pub(super) fn resolved(passed: &[u8], process: u32, follow: bool) -> Vec<u8> {
    let path = own_process(&settled(passed), process);
    let path = Path::new(OsStr::from_bytes(&path));
    if follow && let Ok(found) = fs::canonicalize(path) {
        return found.into_os_string().into_vec();
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return path.as_os_str().as_bytes().to_vec();
    };
    // A directory that is gone by now is taken as it was written.
    let parent = fs::canonicalize(parent).unwrap_or_else(|_| PathBuf::from(parent));
    parent.join(name).into_os_string().into_vec()
}

/// Without empty names, `.` and `..`, by the text alone where that is what the kernel would make of it: a `..` behind a
/// link is followed by the file system.
pub(super) fn settled(path: &[u8]) -> Vec<u8> {
    let mut settled: Vec<u8> = Vec::with_capacity(path.len());
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                let before = Path::new(OsStr::from_bytes(&settled));
                settled = fs::canonicalize(before)
                    .unwrap_or_else(|_| before.to_owned())
                    .parent()
                    .map(|parent| parent.as_os_str().as_bytes().to_vec())
                    .unwrap_or_default();
                if settled == b"/" {
                    settled.clear();
                }
            }
            name => {
                settled.push(b'/');
                settled.extend_from_slice(name);
            }
        }
    }
    if settled.is_empty() {
        settled.push(b'/');
    }
    settled
}

/// `/proc/self` is another directory for each process.
fn own_process(path: &[u8], process: u32) -> Vec<u8> {
    for own in [&b"/proc/self"[..], b"/proc/thread-self"] {
        match path.strip_prefix(own) {
            // The link itself.
            Some(b"") => return path.to_vec(),
            Some(rest) if rest.starts_with(b"/") => {
                return [format!("/proc/{process}").as_bytes(), rest].concat();
            }
            _ => {}
        }
    }
    path.to_vec()
}

/// Whose directory in `/proc` a path leads through.
pub(super) fn task(path: &[u8]) -> Option<u32> {
    let rest = path.strip_prefix(b"/proc/")?;
    let name = rest.split(|&byte| byte == b'/').next()?;
    std::str::from_utf8(name).ok()?.parse().ok()
}

/// Whether there is a directory of this name now.
pub(super) fn is_directory(path: &[u8]) -> bool {
    fs::symlink_metadata(OsStr::from_bytes(path)).is_ok_and(|found| found.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_on_the_way_are_followed_and_the_last_one_only_if_asked() {
        let place = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(place.path()).unwrap();
        fs::create_dir(real.join("real")).unwrap();
        fs::write(real.join("real/file"), "").unwrap();
        std::os::unix::fs::symlink("real", real.join("link")).unwrap();
        std::os::unix::fs::symlink("file", real.join("real/alias")).unwrap();
        let passed = |name: &str| [real.as_os_str().as_bytes(), b"/", name.as_bytes()].concat();
        let expected = |name: &str| real.join(name).into_os_string().into_vec();
        assert_eq!(
            resolved(&passed("link/gone"), 1, false),
            expected("real/gone")
        );
        assert_eq!(
            resolved(&passed("link/alias"), 1, false),
            expected("real/alias")
        );
        assert_eq!(
            resolved(&passed("link/alias"), 1, true),
            expected("real/file")
        );
        assert_eq!(resolved(&passed("link/../x"), 1, false), expected("x"));
    }

    #[test]
    fn a_task_is_the_first_name_in_proc() {
        for (path, expected) in [
            (&b"/proc/12/task/13/stat"[..], Some(12)),
            (b"/proc/12", Some(12)),
            (b"/proc/stat", None),
            (b"/proc", None),
            (b"/srv/proc/12", None),
        ] {
            assert_eq!(task(path), expected);
        }
    }

    #[test]
    fn names_without_meaning_are_left_out() {
        assert_eq!(settled(b"//a/./b//c/"), b"/a/b/c");
        assert_eq!(settled(b"/.."), b"/");
        assert_eq!(settled(b"//"), b"/");
    }

    #[test]
    fn a_process_is_its_own_self() {
        assert_eq!(own_process(b"/proc/self/exe", 7), b"/proc/7/exe");
        assert_eq!(own_process(b"/proc/self", 7), b"/proc/self");
        assert_eq!(own_process(b"/proc/selfish", 7), b"/proc/selfish");
    }
}
