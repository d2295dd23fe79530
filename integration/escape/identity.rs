//! Who a task is: cgroups, namespaces, and ways to start a task that nobody has labelled.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::{io, thread};

use super::arena::Arena;
use super::case::{Attempt, Case, Stop, World, absent, escaped, nothing, past_the_check};
use super::files::steal;
use super::mounts::mount;
use super::system::{c, call, descriptor, ended, in_child, leave, open, place};

/// The chapter.
pub(super) fn cases() -> Vec<Case> {
    let flags = [
        ("C5", "makes a mount namespace", libc::CLONE_NEWNS),
        ("C5a", "makes a network namespace", libc::CLONE_NEWNET),
        ("C5b", "makes a namespace of processes", libc::CLONE_NEWPID),
        (
            "C5c",
            "makes a namespace of IPC objects",
            libc::CLONE_NEWIPC,
        ),
        ("C5d", "makes a namespace of host names", libc::CLONE_NEWUTS),
        ("C5e", "makes a namespace of cgroups", libc::CLONE_NEWCGROUP),
        ("C5f", "makes a namespace of times", 0x80),
        (
            "C5g",
            "makes a user namespace (CVE-2022-0185)",
            libc::CLONE_NEWUSER,
        ),
    ];
    let namespaces = flags.into_iter().map(|(id, says, flag)| {
        let case = Case::wide(id, says, move |_| unshares(flag));
        if flag == libc::CLONE_NEWUSER {
            case
        } else {
            case.by_root()
        }
    });
    let cases = [
        Case::wide("C1", "moves itself to another cgroup", moves_itself).by_root(),
        Case::wide(
            "C1a",
            "moves itself to another cgroup of the first version",
            moves_itself_old,
        )
        .by_root(),
        Case::wide("C2", "starts a child in another cgroup", starts_in_cgroup).by_root(),
        Case::wide("C4", "makes a cgroup", makes_cgroup).by_root(),
        Case::wide("C4a", "may end the tasks of another cgroup", |arena| {
            writable(arena, &arena.sibling.join("cgroup.kill"))
        })
        .by_root(),
        Case::wide("C4b", "may stop the tasks of another cgroup", |arena| {
            writable(arena, &arena.sibling.join("cgroup.freeze"))
        })
        .by_root(),
        Case::wide("C5h", "makes a user namespace with clone", |_| {
            clones(libc::CLONE_NEWUSER)
        }),
        Case::wide("C5i", "makes a user namespace with clone3", |_| {
            clones3(libc::CLONE_NEWUSER)
        }),
        Case::wide(
            "C5j",
            "mounts in a user namespace of its own",
            mounts_in_namespace,
        ),
        Case::wide("C6", "enters the mount namespace of the victim", |arena| {
            enters(arena, "ns/mnt", libc::CLONE_NEWNS)
        })
        .by_root(),
        Case::wide(
            "C6a",
            "enters the network namespace of the victim",
            |arena| enters(arena, "ns/net", libc::CLONE_NEWNET),
        )
        .by_root(),
        Case::wide(
            "C6b",
            "enters the user namespace of the victim",
            enters_user_namespace,
        )
        .by_root(),
        Case::wide(
            "C7",
            "enters the namespaces of the victim by its descriptor",
            enters_by_descriptor,
        )
        .by_root(),
        Case::least(
            "F23o",
            "reads a closed file by its handle",
            super::metadata::by_handle,
        )
        .by_root()
        .within(World::Opened),
        Case::least(
            "C5o",
            "reads a closed file as root of a user namespace",
            |arena| {
                unshares(libc::CLONE_NEWUSER)?;
                steal(arena.closed("secret"))
            },
        )
        .within(World::Opened),
        Case::least(
            "C9",
            "a daemon in a session of its own reads a closed file",
            as_daemon,
        ),
        Case::least(
            "C10",
            "a thread that executes reads a closed file",
            from_thread,
        ),
        Case::least(
            "C13",
            "a child of its parent reads a closed file",
            as_sibling,
        ),
        Case::least(
            "C13a",
            "a child that shares memory reads a closed file",
            as_shared,
        ),
        Case::least(
            "C13b",
            "a program that was executed reads a closed file",
            as_program,
        ),
    ];
    namespaces.chain(cases).collect()
}

/// Makes one namespace of each kind.
fn unshares(flag: i32) -> Attempt {
    match call(libc::SYS_unshare, &[flag.into()]) {
        Ok(_) => escaped("made"),
        // A kernel, or a machine, that does not let anybody have more of them.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EINVAL)) => {
            absent(format!("this kernel: {error}"))
        }
        Err(error) => Err(error.into()),
    }
}

fn clones(flag: i32) -> Attempt {
    let words = [
        (flag | libc::SIGCHLD).into(),
        0.into(),
        0.into(),
        0.into(),
        0.into(),
    ];
    match call(libc::SYS_clone, &words)? {
        0 => leave(0),
        child => {
            ended(i32::try_from(child).map_err(io::Error::other)?)?;
            escaped("made")
        }
    }
}

/// `struct clone_args` of the first version.
fn clones3(flag: i32) -> Attempt {
    let mut arguments = [0u64; 8];
    arguments[0] = u64::from(flag.cast_unsigned());
    arguments[4] = u64::from(libc::SIGCHLD.cast_unsigned());
    match call(libc::SYS_clone3, &[place(&mut arguments), 64.into()])? {
        0 => leave(0),
        child => {
            ended(i32::try_from(child).map_err(io::Error::other)?)?;
            escaped("made")
        }
    }
}

fn mounts_in_namespace(arena: &Arena) -> Attempt {
    unshares(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
    mount(arena, c"tmpfs")
}

fn moves_itself(arena: &Arena) -> Attempt {
    fs::write(arena.sibling.join("cgroup.procs"), "0")?;
    // Back, so that the cgroup can be removed.
    fs::write(arena.cgroup.join("cgroup.procs"), "0").ok();
    escaped("moved")
}

fn moves_itself_old(arena: &Arena) -> Attempt {
    let tasks = Path::new("/sys/fs/cgroup/pids/tasks");
    if !arena.fenced && !tasks.exists() {
        return absent("no cgroup of the first version");
    }
    fs::write(tasks, "0")?;
    escaped("moved")
}

fn starts_in_cgroup(arena: &Arena) -> Attempt {
    const INTO_CGROUP: u64 = 1 << 33;
    let cgroup = open(&arena.sibling, libc::O_PATH | libc::O_DIRECTORY)?;
    let mut arguments = [0u64; 11];
    arguments[0] = INTO_CGROUP;
    arguments[4] = u64::from(libc::SIGCHLD.cast_unsigned());
    arguments[10] = u64::try_from(cgroup.as_raw_fd()).unwrap_or(0);
    match call(libc::SYS_clone3, &[place(&mut arguments), 88.into()])? {
        0 => leave(0),
        child => {
            ended(i32::try_from(child).map_err(io::Error::other)?)?;
            escaped("started")
        }
    }
}

fn makes_cgroup(arena: &Arena) -> Attempt {
    let cgroup = arena
        .cgroup
        .join(format!("ringfence-escape-made-{}", std::process::id()));
    fs::create_dir(&cgroup)?;
    fs::remove_dir(&cgroup)?;
    escaped("made")
}

/// Opens for writing and writes nothing.
pub(super) fn writable(arena: &Arena, path: &Path) -> Attempt {
    if !arena.fenced && !path.exists() {
        return absent(format!("no {}", path.display()));
    }
    open(path, libc::O_WRONLY)?;
    escaped("opened for writing")
}

fn enters(arena: &Arena, name: &str, flag: i32) -> Attempt {
    let namespace = open(arena.of_victim(name), libc::O_RDONLY)?;
    past_the_check(
        call(libc::SYS_setns, &[(&namespace).into(), flag.into()]),
        &[],
    )
}

fn enters_user_namespace(arena: &Arena) -> Attempt {
    let namespace = open(arena.of_victim("ns/user"), libc::O_RDONLY)?;
    // Its own namespace, for whoever is in it.
    past_the_check(
        call(
            libc::SYS_setns,
            &[(&namespace).into(), libc::CLONE_NEWUSER.into()],
        ),
        &[libc::EINVAL],
    )
}

fn victim_descriptor(arena: &Arena) -> io::Result<OwnedFd> {
    descriptor(libc::SYS_pidfd_open, &[arena.victim.pid.into(), 0.into()])
}

fn enters_by_descriptor(arena: &Arena) -> Attempt {
    let victim = victim_descriptor(arena)?;
    let flags = libc::CLONE_NEWUTS | libc::CLONE_NEWNET;
    past_the_check(
        call(libc::SYS_setns, &[(&victim).into(), flags.into()]),
        &[],
    )
}

/// The code of a child that got the secret.
fn told(got: &Attempt) -> i32 {
    match got {
        Ok(_) => 100,
        Err(Stop::Refused(errno)) => *errno,
        Err(_) => 101,
    }
}

fn understood(code: i32) -> Attempt {
    match code {
        100 => escaped("read the secret"),
        101.. => Err(Stop::Broken(format!("the child ended with {code}"))),
        errno => Err(Stop::Refused(errno)),
    }
}

fn as_daemon(arena: &Arena) -> Attempt {
    let report = arena.open("report");
    in_child(|| {
        call(libc::SYS_setsid, &[])?;
        // SAFETY: a process of one thread.
        if unsafe { libc::fork() } == 0 {
            // Written aside and moved, so that nobody reads half of it.
            let draft = arena.open("draft");
            let written = fs::write(&draft, told(&steal(arena.closed("secret"))).to_string());
            let moved = written.and_then(|()| fs::rename(&draft, &report));
            leave(i32::from(moved.is_err()));
        }
        Ok(())
    })?;
    for _ in 0..500 {
        if let Ok(code) = fs::read_to_string(&report) {
            return understood(code.parse().unwrap_or(101));
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    Err(Stop::Broken("the daemon said nothing".into()))
}

fn from_thread(arena: &Arena) -> Attempt {
    let (path, report) = (arena.closed("secret"), arena.open("report"));
    let script = "exec cat \"$1\" > \"$2\"".to_owned();
    for _ in 0..4 {
        in_child(|| {
            // A thread that is not the first one executes, while others run.
            for _ in 0..4 {
                thread::spawn(|| {
                    loop {
                        thread::yield_now();
                    }
                });
            }
            let (path, report) = (c(&path)?, c(&report)?);
            let script = c(&script)?;
            let executor = thread::spawn(move || {
                let words = [
                    c"sh".as_ptr(),
                    c"-c".as_ptr(),
                    script.as_ptr(),
                    c"sh".as_ptr(),
                    path.as_ptr(),
                    report.as_ptr(),
                    std::ptr::null(),
                ];
                // SAFETY: all are strings that live, and the list ends with null.
                unsafe { libc::execv(c"/bin/sh".as_ptr(), words.as_ptr()) };
            });
            executor.join().ok();
            Err(io::Error::from_raw_os_error(libc::ENOEXEC))
        })
        .ok();
        if fs::read_to_string(&report).is_ok_and(|text| text.contains(super::arena::SECRET)) {
            return escaped("read the secret");
        }
    }
    nothing("none of 4 read it")
}

fn as_sibling(arena: &Arena) -> Attempt {
    let report = arena.open("report");
    // A child of the parent's cannot be waited for by us: it writes what it found.
    let words = [
        (libc::CLONE_PARENT | libc::SIGCHLD).into(),
        0.into(),
        0.into(),
        0.into(),
        0.into(),
    ];
    if call(libc::SYS_clone, &words)? == 0 {
        let draft = arena.open("draft");
        let written = fs::write(&draft, told(&steal(arena.closed("secret"))).to_string());
        let moved = written.and_then(|()| fs::rename(&draft, &report));
        leave(i32::from(moved.is_err()));
    }
    for _ in 0..500 {
        if let Ok(code) = fs::read_to_string(&report) {
            return understood(code.parse().unwrap_or(101));
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    Err(Stop::Broken("the child said nothing".into()))
}

extern "C" fn shared(arena: *mut std::ffi::c_void) -> i32 {
    // SAFETY: the parent waits for us, and keeps it.
    let arena = unsafe { &*arena.cast::<Arena>() };
    told(&steal(arena.closed("secret")))
}

fn as_shared(arena: &Arena) -> Attempt {
    let mut stack = vec![0u8; 1 << 20];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let mut copy = arena.clone();
    // SAFETY: the end of the stack; the parent stands still until the child has left.
    let top = unsafe { stack.as_mut_ptr().add(stack.len()) };
    // SAFETY: as above; the child only reads a file.
    let child = unsafe { libc::clone(shared, top.cast(), flags, (&raw mut copy).cast()) };
    if child < 0 {
        return Err(io::Error::last_os_error().into());
    }
    understood(ended(child)?)
}

fn as_program(arena: &Arena) -> Attempt {
    let output = Command::new("/bin/cat")
        .arg(arena.closed("secret"))
        .stderr(Stdio::null())
        .output()?;
    super::files::secret_in(&String::from_utf8_lossy(&output.stdout))
}
