//! `/proc/self/mountinfo` and `/proc/self/cgroup`: where things are mounted, and which cgroup the caller is in.
//! Formats: proc_pid_mountinfo(5), cgroups(7).

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::error::Error;

const MOUNTINFO: &str = "/proc/self/mountinfo";
const OWN_CGROUP: &str = "/proc/self/cgroup";

/// One line of mountinfo, as far as it is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// The part of the file system that is mounted.
    pub(super) root: PathBuf,
    /// Where.
    pub(super) point: PathBuf,
    /// File system type.
    pub(super) kind: String,
}

/// The mounts of the caller's mount namespace, in mount order.
pub(super) fn mounts() -> Result<Vec<Mount>, Error> {
    Ok(parse(&read(MOUNTINFO)?))
}

/// The mounts that this thread sees, which may have another namespace and root than its process; `proc` is the host's /proc.
pub(super) fn mounts_of_thread(proc: BorrowedFd<'_>) -> Result<Vec<Mount>, Error> {
    const PATH: &str = "thread-self/mountinfo";
    let failed = |source| Error::Proc {
        path: PATH.to_owned(),
        source,
    };
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let file = openat(proc, PATH, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    let mut text = Vec::new();
    fs::File::from(file)
        .read_to_end(&mut text)
        .map_err(failed)?;
    Ok(parse(&text))
}

/// The path of the caller's cgroup in the v2 hierarchy, below the hierarchy's root; `None` without one.
pub(super) fn own_cgroup() -> Result<Option<PathBuf>, Error> {
    Ok(parse_cgroup(&read(OWN_CGROUP)?))
}

/// The path of another process' cgroup; `None` if it has gone, or stands in none.
pub(super) fn cgroup_of(process: u32) -> Option<PathBuf> {
    parse_cgroup(&fs::read(format!("/proc/{process}/cgroup")).ok()?)
}

/// A file of the kernel's, which says of none how long it is, and each read costs a call.
pub(super) fn read(path: &str) -> Result<Vec<u8>, Error> {
    const AT_ONCE: usize = 8192;
    let mut text = Vec::with_capacity(AT_ONCE);
    let read = fs::File::open(path).and_then(|mut file| file.read_to_end(&mut text));
    read.map(|_| text).map_err(|source| Error::Proc {
        path: path.to_owned(),
        source,
    })
}

/// Lines that are not in the kernel's form are none of ours and are passed over: what is not found is reported by
/// who looks for it.
fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n')
        .filter_map(parse_line)
        .collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    // Optional fields stand between the sixth field and a lone hyphen.
    let hyphen = fields.iter().position(|field| *field == b"-")?;
    Some(Mount {
        root: unescape(fields.get(3)?),
        point: unescape(fields.get(4)?),
        kind: String::from_utf8_lossy(fields.get(hyphen + 1)?).into_owned(),
    })
}

/// Space, tab, newline and backslash are written as three octal digits (fs/proc_namespace.c, 6.18: `mangle`).
fn unescape(field: &[u8]) -> PathBuf {
    if !field.contains(&b'\\') {
        return OsString::from_vec(field.to_vec()).into();
    }
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match octal {
            Some(value) if byte == b'\\' => {
                bytes.push(value);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn parse_cgroup(text: &[u8]) -> Option<PathBuf> {
    let line = text
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"0::"))?;
    // A cgroup that was removed under its tasks carries this mark.
    let line = line.strip_suffix(b" (deleted)").unwrap_or(line);
    let path = PathBuf::from(OsString::from_vec(line.to_vec()));
    Some(
        path.strip_prefix(Path::new("/"))
            .map_or(path.clone(), Path::to_path_buf),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_past_optional_fields_and_escapes() {
        let text = b"38 31 0:37 / /sys/fs/cgroup/unified rw,relatime shared:9 master:1 - cgroup2 cgroup2 rw\n\
                     40 31 0:38 /a\\040b /mnt/with\\040space rw - ext4 /dev/x rw\n\
                     nonsense\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].point, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(mounts[0].kind, "cgroup2");
        assert_eq!(mounts[1].root, Path::new("/a b"));
        assert_eq!(mounts[1].point, Path::new("/mnt/with space"));
    }

    #[test]
    fn the_own_cgroup_is_that_of_the_unified_hierarchy() {
        let hybrid = b"4:memory:/a\n0::/user.slice/session\n";
        assert_eq!(
            parse_cgroup(hybrid),
            Some(PathBuf::from("user.slice/session"))
        );
        assert_eq!(parse_cgroup(b"0::/\n"), Some(PathBuf::new()));
        assert_eq!(parse_cgroup(b"4:memory:/a\n"), None);
    }
}
