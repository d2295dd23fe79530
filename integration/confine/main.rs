//! The confine room with real processes: what a launch gives, and what the fallback engine keeps closed.
//!
//! Runs without virtual machines. What needs root says so by name when it is skipped.

// A test's helpers end a test like its body does.
#![allow(clippy::unwrap_used)]

mod fallback;
mod gain;
mod kit;
mod launch;
mod peers;
mod rules;
mod supervisor;
mod surfaces;
mod syscalls;
mod terminal;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kit::{is_root, place};

/// Where a copy of this test lies that an ordinary user can run.
fn own_copy(place: &Path) -> PathBuf {
    let copy = place.join("confine-test");
    // By another process: a child that a test beside this one forks meanwhile would hold what is written here, and it could not be executed
    // ("Text file busy").
    let mut copier = std::process::Command::new("cp");
    let copied = copier
        .arg(std::env::current_exe().unwrap())
        .arg(&copy)
        .status();
    assert!(copied.unwrap().success());
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

#[test]
fn everything_else_holds_for_an_ordinary_user_too() {
    if !is_root() {
        return;
    }
    let place = place();
    let copy = own_copy(place.path());
    let mut command = std::process::Command::new(copy);
    let tmp = place.path().join("tmp");
    fs::create_dir(&tmp).unwrap();
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777)).unwrap();
    command.env("TMPDIR", &tmp).current_dir("/");
    // Without a cgroup the fence is what descends from this process: one at a time.
    command.arg("--test-threads=1");
    // Root's capabilities go with the change of user.
    std::os::unix::process::CommandExt::uid(&mut command, 65534);
    std::os::unix::process::CommandExt::gid(&mut command, 65534);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
