//! Chooses the eBPF object that the program embeds, as `$OUT_DIR/ringfence.bpf.o`.
//!
//! It is the one that is checked in beside the kernel room, unless `RINGFENCE_BPF_OBJECT` names another one: that is how
//! `cargo xtask test` tries what it has just built from source. Nothing is compiled here, so that a plain `cargo build`
//! needs a stable compiler only.
//!
//! What tells objects apart at run time, `$RINGFENCE_OBJECT_DIGEST`, is computed here as well: every run asks for it.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::{env, fs};

const CHECKED_IN: &str = "src/kernel/ringfence.bpf.o";
const CHOICE: &str = "RINGFENCE_BPF_OBJECT";

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={CHOICE}");
    let object = match env::var_os(CHOICE) {
        Some(given) => PathBuf::from(given),
        None => variable("CARGO_MANIFEST_DIR")?.join(CHECKED_IN),
    };
    println!("cargo::rerun-if-changed={}", object.display());
    let embedded = variable("OUT_DIR")?.join("ringfence.bpf.o");
    if object.exists() {
        return copy(&object, &embedded);
    }
    if env::var_os(CHOICE).is_some() {
        return Err(format!(
            "{CHOICE} names {}, which is not there",
            object.display()
        ));
    }
    // Not the end yet: whatever embeds the object will not compile, and this line above it says why.
    println!("cargo::warning={CHECKED_IN} is not there; build it with `cargo xtask ebpf`");
    if embedded.exists() {
        fs::remove_file(&embedded)
            .map_err(|error| format!("could not remove {}: {error}", embedded.display()))?;
    }
    Ok(())
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name)
        .map(PathBuf::from)
        .ok_or_else(|| format!("cargo did not set {name}"))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let bytes =
        fs::read(from).map_err(|error| format!("could not read {}: {error}", from.display()))?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    println!(
        "cargo::rustc-env=RINGFENCE_OBJECT_DIGEST={:016x}",
        hasher.finish()
    );
    fs::write(to, bytes).map_err(|error| format!("could not write {}: {error}", to.display()))
}
