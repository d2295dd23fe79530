//! /proc and /sys: settings through which the kernel starts programs, and what is known of other tasks.

use std::fs;
use std::path::{Path, PathBuf};

use super::arena::{Arena, SECRET};
use super::case::{Attempt, Case, World, absent, escaped, nothing};
use super::files::{secret_in, steal};
use super::system::{call, open, read};

/// Settings of the kernel that a file opens: id, path, and whether they are closed by more than rules about paths.
const SETTINGS: [(&str, &str); 22] = [
    ("P1", "/proc/sys/kernel/core_pattern"),
    ("P2", "/proc/sys/kernel/modprobe"),
    ("P3", "/proc/sysrq-trigger"),
    ("P3a", "/proc/sys/kernel/sysrq"),
    ("P7", "/sys/kernel/uevent_helper"),
    ("P7a", "/proc/sys/kernel/hotplug"),
    ("P7b", "/proc/sys/kernel/core_uses_pid"),
    ("P7c", "/proc/sys/kernel/randomize_va_space"),
    ("P7d", "/proc/sys/kernel/unprivileged_bpf_disabled"),
    ("P7e", "/proc/sys/vm/overcommit_memory"),
    ("P7f", "/proc/sys/fs/suid_dumpable"),
    ("P7g", "/proc/sys/net/ipv4/ip_forward"),
    ("P7h", "/proc/sys/kernel/ns_last_pid"),
    ("P7i", "/sys/kernel/mm/transparent_hugepage/enabled"),
    ("P7j", "/sys/power/state"),
    ("P7k", "/sys/kernel/tracing/tracing_on"),
    ("P7l", "/sys/kernel/tracing/kprobe_events"),
    ("P7m", "/sys/kernel/debug/clear_warn_once"),
    (
        "P7n",
        "/sys/module/kernel/parameters/crash_kexec_post_notifiers",
    ),
    ("P7o", "/sys/block/vda/uevent"),
    ("P7p", "/proc/irq/default_smp_affinity"),
    ("P9", "/sys/fs/cgroup/pids/release_agent"),
];

/// What tells about the kernel.
const TELLING: [(&str, &str); 7] = [
    ("P10", "/proc/kcore"),
    ("P10b", "/proc/kmsg"),
    ("P10c", "/proc/kpageflags"),
    ("P10d", "/proc/vmallocinfo"),
    ("P10e", "/proc/slabinfo"),
    ("P10f", "/proc/modules"),
    ("P10g", "/proc/keys"),
];

/// What the victim's folder tells only to who may trace it.
const OF_VICTIM: [(&str, &str); 10] = [
    ("P5", "environ"),
    ("P5a", "maps"),
    ("P5b", "smaps"),
    ("P5c", "pagemap"),
    ("P5d", "auxv"),
    ("P5e", "stack"),
    ("P5f", "syscall"),
    ("P5g", "io"),
    ("P5h", "personality"),
    ("P5k", "numa_maps"),
];

/// What the victim's folder lets others change.
const CHANGES_VICTIM: [(&str, &str); 5] = [
    ("P6", "oom_score_adj"),
    ("P6a", "coredump_filter"),
    ("P6b", "clear_refs"),
    ("P6c", "timerslack_ns"),
    ("P6d", "autogroup"),
];

/// The chapter.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (id, path) in SETTINGS {
        // In a world where every file may be written, only a protection of its own is in the way.
        for (suffix, world) in [("", World::Least), ("w", World::Wide)] {
            let says = format!("opens {path} for writing");
            let id = leaked(id, suffix);
            let attack = move |arena: &Arena| writable(arena, Path::new(path));
            cases.push(Case::least(id, says, attack).by_root().within(world));
        }
    }
    for (id, path) in TELLING {
        let says = format!("reads {path}");
        cases.push(Case::least(id, says, move |arena| readable(arena, Path::new(path))).by_root());
    }
    for (id, name) in OF_VICTIM {
        let says = format!("reads {name} of the victim in /proc");
        cases.push(Case::wide(id, says, move |arena| {
            readable(arena, &arena.of_victim(name))
        }));
    }
    for (id, name) in CHANGES_VICTIM {
        let says = format!("opens {name} of the victim in /proc for writing");
        cases.push(Case::wide(id, says, move |arena| {
            writable(arena, &arena.of_victim(name))
        }));
    }
    cases.push(Case::least("P10a", "reads addresses of the kernel", reads_addresses).by_root());
    cases.extend(single());
    cases
}

/// Ids of a list with two worlds.
fn leaked(id: &'static str, suffix: &str) -> &'static str {
    match suffix {
        "" => id,
        _ => Box::leak(format!("{id}{suffix}").into_boxed_str()),
    }
}

fn single() -> [Case; 14] {
    [
        Case::wide("P4", "opens the victim's memory for writing", |arena| {
            let memory = open(arena.of_victim("mem"), libc::O_RDWR)?;
            let secret = SECRET.as_bytes();
            call(
                libc::SYS_pwrite64,
                &[
                    (&memory).into(),
                    secret.into(),
                    secret.len().into(),
                    arena.victim.secret.into(),
                ],
            )?;
            escaped("wrote")
        }),
        Case::wide("P4a", "reads the victim's memory in /proc", |arena| {
            let memory = open(arena.of_victim("mem"), libc::O_RDONLY)?;
            let mut bytes = [0u8; SECRET.len()];
            call(
                libc::SYS_pread64,
                &[
                    (&memory).into(),
                    (&mut bytes[..]).into(),
                    SECRET.len().into(),
                    arena.victim.secret.into(),
                ],
            )?;
            secret_in(&String::from_utf8_lossy(&bytes))
        }),
        Case::least("P5l", "reads the victim's environment", |arena| {
            readable(arena, &arena.of_victim("environ"))
        }),
        Case::least("P5m", "reads a closed file by the victim's root", |arena| {
            by_root(arena)
        }),
        Case::wide("P5n", "reads by the victim's root", by_root),
        Case::wide("P5o", "reads by the victim's working directory", |arena| {
            steal(arena.of_victim("cwd/secret"))
        }),
        Case::wide("P5p", "opens a descriptor of the victim", |arena| {
            steal(arena.of_victim(&format!("fd/{}", arena.victim.descriptor)))
        }),
        Case::least(
            "P5q",
            "opens a descriptor of the victim on a closed file",
            |arena| steal(arena.of_victim(&format!("fd/{}", arena.victim.descriptor))),
        ),
        Case::wide("P5r", "reads a link of the victim in /proc", |arena| {
            escaped(fs::read_link(arena.of_victim("exe"))?.display())
        }),
        Case::wide(
            "P5s",
            "opens a mapping of the victim in /proc",
            opens_mapping,
        )
        .by_root(),
        Case::least("P5t", "reads the victim's arguments", |arena| {
            readable(arena, &arena.of_victim("cmdline"))
        }),
        Case::wide(
            "P5u",
            "reads the environment of the first process",
            |arena| readable(arena, Path::new("/proc/1/environ")),
        )
        .by_root(),
        Case::least(
            "P11",
            "reads a closed file by the task folder of a thread",
            |arena| {
                // SAFETY: asks for a number.
                let thread = unsafe { libc::gettid() };
                let path = arena.closed("secret");
                let below = path.strip_prefix("/").unwrap_or(&path);
                steal(PathBuf::from(format!("/proc/self/task/{thread}/root")).join(below))
            },
        ),
        Case::wide(
            "CVE-2019-5736",
            "opens the program that started it for writing",
            |arena| {
                // SAFETY: asks for a number.
                let parent = unsafe { libc::getppid() };
                // The process that runs the cases is ours: its parent is the one outside.
                let status = fs::read_to_string(format!("/proc/{parent}/status"))?;
                let above = status
                    .lines()
                    .find_map(|line| line.strip_prefix("PPid:\t"))
                    .unwrap_or("1");
                let program = open(format!("/proc/{above}/exe"), libc::O_PATH)?;
                let number = std::os::fd::AsRawFd::as_raw_fd(&program);
                match open(format!("/proc/self/fd/{number}"), libc::O_WRONLY) {
                    // "Text file busy" comes after the question of who may.
                    Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {
                        escaped("permitted, then ETXTBSY")
                    }
                    Err(error) if arena.fenced => Err(error.into()),
                    Err(error) => Err(error.into()),
                    Ok(_) => escaped("opened"),
                }
            },
        )
        .by_root(),
    ]
}

fn writable(arena: &Arena, path: &Path) -> Attempt {
    match open(path, libc::O_WRONLY) {
        Ok(_) => escaped("opened for writing"),
        Err(error) if arena.fenced => Err(error.into()),
        Err(error) => absent(error),
    }
}

/// Opening is not all: some files ask again when they are read, and some show nothing to who may not know.
fn readable(arena: &Arena, path: &Path) -> Attempt {
    let text = open(path, libc::O_RDONLY | libc::O_NONBLOCK).and_then(|file| read(&file));
    match text {
        Ok(text) if text.is_empty() => nothing("it is empty"),
        Ok(text) => escaped(format!("{} bytes", text.len())),
        Err(error) if arena.fenced => Err(error.into()),
        Err(error) => absent(error),
    }
}

/// To who may not know them they are all zero; some are zero for everybody.
fn reads_addresses(arena: &Arena) -> Attempt {
    let text = match fs::read_to_string("/proc/kallsyms") {
        Err(error) if !arena.fenced => return absent(error),
        text => text?,
    };
    match text
        .lines()
        .find(|line| !line.starts_with("0000000000000000"))
    {
        Some(line) => escaped(line),
        None if !arena.fenced => absent("they are hidden from everybody"),
        None => nothing("all are hidden"),
    }
}

fn by_root(arena: &Arena) -> Attempt {
    let path = arena.closed("secret");
    let below = path.strip_prefix("/").unwrap_or(&path);
    steal(arena.of_victim("root").join(below))
}

fn opens_mapping(arena: &Arena) -> Attempt {
    let folder = fs::read_dir(arena.of_victim("map_files"))?;
    let first = folder.flatten().next();
    let Some(first) = first else {
        return nothing("no mapping is shown");
    };
    open(first.path(), libc::O_RDONLY)?;
    escaped("opened")
}
