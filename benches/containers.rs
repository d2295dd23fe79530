//! What a fence adds to a container: a bundle with busybox, run by the bare runtime and by ringfence in front of it. Told are the time to
//! the first word of its command, that to its end, and the processor time of all that ran for it: runtime, command, ringfence's
//! processes, that which stays until the end among them.
//!
//! Rounds are paired: in each one all run once, in turn, and differences are taken round by round. Run as root by
//! `cargo bench --bench containers`; in a machine by `cargo xtask vm --kernel 6.12 -- target/release/deps/containers-...`. `ROUNDS` is how
//! often, `RINGFENCE_BIN` another build of the program, `BEFORE` one that runs in turn with it. Where controllers are in hierarchies of version 1,
//! crun takes a mount namespace in which only that of version 2 is there.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::Read as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use nix::{
    errno::Errno,
    sys::{
        prctl::set_child_subreaper,
        resource::{UsageWho, getrusage},
        wait::wait,
    },
};
use serde_json::json;

/// What stands before a container.
struct Contestant {
    name: &'static str,
    program: PathBuf,
    took: Vec<Took>,
}

/// Milliseconds that one container took.
#[derive(Clone, Copy)]
struct Took {
    /// From the start of the runtime to the first word of the command.
    word: f64,
    /// From the start of the runtime to its end.
    end: f64,
    /// Of processors.
    processor: f64,
}

fn main() {
    let rounds = env::var("ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(15);
    println!(
        "kernel {}",
        fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
    );
    // What stays behind a runtime is waited for here, and so counted.
    set_child_subreaper(true).expect("to be the reaper");
    for runtime in ["runc", "crun"] {
        if !is_installed(runtime) || !is_installed("busybox") {
            println!("{runtime}: it, or busybox, is not installed");
        } else if let Err(error) = compare(runtime, rounds) {
            println!("{runtime}: {error}");
        }
    }
}

/// Prints medians of what each takes, and of what it takes more than the bare runtime.
fn compare(runtime: &str, rounds: usize) -> Result<(), String> {
    let place = tempfile::tempdir_in("/var/tmp").expect("a temporary directory");
    let mut all = vec![Contestant::new("bare", runtime.into())];
    let own = env::var_os("RINGFENCE_BIN");
    let own = own.unwrap_or_else(|| env!("CARGO_BIN_EXE_ringfence").into());
    for (name, binary) in [("before", env::var_os("BEFORE")), ("fenced", Some(own))] {
        let Some(binary) = binary else { continue };
        all.push(Contestant::new(
            name,
            link(&place.path().join(name), &binary, runtime)?,
        ));
    }
    for one in &all {
        // The first start may load programs.
        let first = run(&one.program, place.path())?;
        println!("{runtime}, {}: first start {:.1} ms", one.name, first.end);
    }
    for _ in 0..rounds {
        for one in &mut all {
            one.took.push(run(&one.program, place.path())?);
        }
    }
    println!("{runtime}, medians of {rounds} rounds: first word, end, processor time");
    let (bare, others) = all.split_first().expect("the bare runtime");
    println!("{runtime}, {}: {}", bare.name, median(&bare.took));
    for one in others {
        let pairs = one.took.iter().zip(&bare.took);
        let added: Vec<_> = pairs.map(|(took, bare)| took.less(bare)).collect();
        println!("{runtime}, {}: {} more", one.name, median(&added));
    }
    Ok(())
}

impl Contestant {
    fn new(name: &'static str, program: PathBuf) -> Self {
        Self {
            name,
            program,
            took: Vec::new(),
        }
    }
}

impl Took {
    fn less(&self, other: &Self) -> Self {
        Self {
            word: self.word - other.word,
            end: self.end - other.end,
            processor: self.processor - other.processor,
        }
    }
}

/// A link to the program that stands for this runtime, as `ringfence oci install` makes that for runc, and beside what it puts there.
fn link(root: &Path, program: &OsStr, runtime: &str) -> Result<PathBuf, String> {
    let mut install = Command::new(program);
    install
        .args(["oci", "install", "podman", "--root"])
        .arg(root);
    let done = install.output().map_err(|error| error.to_string())?;
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into_owned());
    }
    let link = root
        .join("usr/local/bin")
        .join(format!("ringfence-{runtime}"));
    if !link.is_symlink() {
        symlink(program, &link).map_err(|error| error.to_string())?;
    }
    Ok(link)
}

/// Runs a fresh bundle, and waits for all that came of it.
fn run(program: &Path, place: &Path) -> Result<Took, String> {
    let said = |error: std::io::Error| error.to_string();
    let id = format!("ringfence-bench-{}", std::process::id());
    let bundle = bundle(place, &id).map_err(said)?;
    let before = processor_time()?;
    let began = Instant::now();
    let mut running = Command::new(program)
        .args(["run", "--bundle"])
        .arg(&bundle)
        .arg(&id)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(said)?;
    let mut out = running.stdout.take().ok_or("it has no output")?;
    let mut text = [0; 64];
    let first = out.read(&mut text).map_err(said)?;
    let word = began.elapsed();
    running.wait().map_err(said)?;
    let end = began.elapsed();
    if &text[..first] != b"kept\n" {
        return Err("it did not say what it was to say".to_owned());
    }
    loop {
        match wait() {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => break,
            Err(errno) => return Err(errno.desc().to_owned()),
        }
    }
    Ok(Took {
        word: word.as_secs_f64() * 1e3,
        end: end.as_secs_f64() * 1e3,
        processor: processor_time()? - before,
    })
}

/// Milliseconds of all processes that have been waited for.
fn processor_time() -> Result<f64, String> {
    let used = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|errno| errno.desc().to_owned())?;
    let times = [used.user_time(), used.system_time()];
    let milliseconds =
        |time: &nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3;
    Ok(times.iter().map(milliseconds).sum())
}

/// A fresh one, since a fence changes it.
fn bundle(place: &Path, id: &str) -> std::io::Result<std::path::PathBuf> {
    let bundle = place.join("bundle");
    let root = bundle.join("rootfs");
    for name in ["bin", "proc", "sys", "dev", "tmp", "etc"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    fs::write(root.join("etc/kept"), "kept\n")?;
    let configuration = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/busybox", "cat", "/etc/kept"], "env": ["PATH=/bin", "HOME=/root"], "cwd": "/",
        },
        "root": { "path": "rootfs", "readonly": false },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"] },
        ],
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "namespaces": [{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "network" }],
        },
    });
    fs::write(
        bundle.join("config.json"),
        serde_json::to_vec(&configuration)?,
    )?;
    Ok(bundle)
}

fn median(all: &[Took]) -> String {
    let middle = |of: fn(&Took) -> f64| {
        let mut values: Vec<_> = all.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    format!(
        "{:.1}, {:.1}, {:.1} ms",
        middle(|took| took.word),
        middle(|took| took.end),
        middle(|took| took.processor)
    )
}

fn is_installed(program: &str) -> bool {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .any(|place| place.join(program).exists())
}
