//! One build: cargo for `bpfel-unknown-none`, then the object without what depends on where it was built.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::builder::Builder;
use crate::place;
use crate::tool::{run, say};

/// BTF is made from debug information, so that must be there, although it is dropped afterwards.
const FLAGS: [&str; 6] = [
    "-C",
    "debuginfo=2",
    "-C",
    "link-arg=--btf",
    // Atomic operations (Linux 5.12).
    "-C",
    "target-cpu=v3",
];
/// Separates flags in `CARGO_ENCODED_RUSTFLAGS`, where paths may hold spaces.
const UNIT_SEPARATOR: &str = "\x1f";

/// Builds and gives the path of the finished object, in cargo's target folder.
pub(crate) fn build(builder: &Builder) -> Result<PathBuf> {
    let source = place::root().join("sandbox-ebpf");
    if !source.join("Cargo.toml").exists() {
        bail!(
            "sandbox-ebpf/Cargo.toml is not there: this checkout has no source of the kernel half"
        );
    }
    let target = place::target().join("ebpf");
    say(format!(
        "building the eBPF object with {}",
        builder.identity()
    ));
    let mut cargo = builder.cargo();
    cargo
        .current_dir(&source)
        .args([
            "build",
            "--release",
            "--target",
            "bpfel-unknown-none",
            "-Z",
            "build-std=core",
            "--target-dir",
        ])
        .arg(&target)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            flags(builder).join(UNIT_SEPARATOR),
        )
        .env("CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS", "fallback");
    if source.join("Cargo.lock").exists() {
        cargo.arg("--locked");
    }
    run(&mut cargo)?;
    let finished = target.join("ringfence.bpf.o");
    // The debug sections name folders and are of no use to the kernel; .BTF and .BTF.ext stay.
    run(builder
        .objcopy()
        .arg("--strip-debug")
        .arg(target.join("bpfel-unknown-none/release/ringfence-ebpf"))
        .arg(&finished))?;
    refuse_paths(&finished)?;
    Ok(finished)
}

/// The checkout, cargo's home and the compiler's source get fixed names: BTF keeps file names.
fn flags(builder: &Builder) -> Vec<String> {
    let mut renamed = vec![
        (place::cargo_home(), "/cargo"),
        (place::root().to_owned(), "/ringfence"),
    ];
    renamed.extend(
        builder
            .sources()
            .iter()
            .map(|source| (source.clone(), "/rust")),
    );
    let mut flags: Vec<String> = FLAGS.iter().map(ToString::to_string).collect();
    for (from, to) in renamed {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    }
    flags
}

/// An object that names the folder where it was built would differ on every machine: say so here, not in CI.
fn refuse_paths(object: &Path) -> Result<()> {
    let bytes = std::fs::read(object)?;
    for place in [place::root().to_owned(), place::cargo_home()] {
        let name = place.to_string_lossy().into_owned().into_bytes();
        if bytes.windows(name.len()).any(|window| window == name) {
            bail!(
                "the object names {}: a path is not remapped",
                place.display()
            );
        }
    }
    Ok(())
}
