//! What a fence adds to the start of a container: a bundle with busybox, run to its end by the bare runtime and by ringfence in
//! front of it.
//!
//! Rounds are paired: in each one both run once, in turn, and differences and ratios are taken round by round. Run as root by
//! `cargo bench --bench containers`; in a machine by `cargo xtask vm --kernel 6.12 -- target/release/deps/containers-...`. `RINGFENCE_BIN` is
//! another build of the program. Where controllers are in hierarchies of version 1, crun takes a mount namespace in which only that of version 2
//! is there.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::json;

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
    for runtime in ["runc", "crun"] {
        if is_installed(runtime) && is_installed("busybox") {
            compare(runtime, rounds);
        } else {
            println!("{runtime}: it, or busybox, is not installed");
        }
    }
}

/// Prints medians of the times, of the differences and of the ratios.
fn compare(runtime: &str, rounds: usize) {
    let place = tempfile::tempdir_in("/var/tmp").expect("a temporary directory");
    let link = place.path().join(format!("ringfence-{runtime}"));
    let binary = env::var_os("RINGFENCE_BIN");
    let binary = binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_ringfence").into());
    symlink(binary, &link).expect("a link to ringfence");
    let (mut bare, mut fenced, mut added, mut ratios) = (vec![], vec![], vec![], vec![]);
    for round in 0..=rounds {
        let without = run(Path::new(runtime), place.path());
        let with = run(&link, place.path());
        match (round, without, with) {
            (_, Err(error), _) | (_, _, Err(error)) => {
                println!("{runtime}: {error}");
                return;
            }
            // The first start may load programs.
            (0, Ok(without), Ok(with)) => {
                println!("{runtime}: first start {without:.1} ms bare, {with:.1} ms fenced");
            }
            (_, Ok(without), Ok(with)) => {
                bare.push(without);
                fenced.push(with);
                added.push(with - without);
                ratios.push(with / without);
            }
        }
    }
    println!(
        "{runtime}: median of {rounds}: {:.1} ms bare, {:.1} ms fenced, {:+.1} ms, {:.2} x",
        median(bare),
        median(fenced),
        median(added),
        median(ratios)
    );
}

/// Milliseconds from the start of the runtime to its end.
fn run(program: &Path, place: &Path) -> Result<f64, String> {
    let id = format!("ringfence-bench-{}", std::process::id());
    let bundle = bundle(place, &id).map_err(|error| error.to_string())?;
    let began = Instant::now();
    let ended = Command::new(program)
        .args(["run", "--bundle"])
        .arg(&bundle)
        .arg(&id)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let took = began.elapsed().as_secs_f64() * 1e3;
    if ended.stdout != b"kept\n" {
        return Err(String::from_utf8_lossy(&ended.stderr).into_owned());
    }
    Ok(took)
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn is_installed(program: &str) -> bool {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .any(|place| place.join(program).exists())
}
