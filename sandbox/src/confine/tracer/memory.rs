//! What lies in a stopped task's memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use nix::unistd::Pid;

/// Longest name, with its end (include/uapi/linux/limits.h, `PATH_MAX`).
const LONGEST: usize = 4096;
const PAGE: u64 = 4096;

/// `length` bytes at `address`.
pub(super) fn bytes(task: Pid, address: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut found = vec![0; length];
    File::open(format!("/proc/{task}/mem"))?.read_exact_at(&mut found, address)?;
    Ok(found)
}

/// A number at `address`.
pub(super) fn number(task: Pid, address: u64) -> io::Result<u64> {
    let found = bytes(task, address, 8)?;
    Ok(u64::from_ne_bytes(found.try_into().unwrap_or_default()))
}

/// The string at `address`, without its end. One that does not end is an error.
pub(super) fn string(task: Pid, address: u64) -> io::Result<Vec<u8>> {
    let memory = File::open(format!("/proc/{task}/mem"))?;
    let mut found = Vec::new();
    let mut at = address;
    while found.len() < LONGEST {
        // The next page may not be there.
        let length = usize::try_from(PAGE - at % PAGE).map_err(io::Error::other)?;
        let mut part = vec![0; length];
        memory.read_exact_at(&mut part, at)?;
        if let Some(end) = part.iter().position(|&byte| byte == 0) {
            found.extend_from_slice(&part[..end]);
            return Ok(found);
        }
        found.extend(part);
        at += PAGE - at % PAGE;
    }
    Err(io::Error::other("a name has no end"))
}
