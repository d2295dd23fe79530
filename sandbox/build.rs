//! What the program embeds: the eBPF object, as `$OUT_DIR/ringfence.bpf.o`, the launcher of containers, as `$OUT_DIR/launch`, and their
//! hook, as `$OUT_DIR/hook`.
//!
//! The object is the one that is checked in beside the kernel room, unless `RINGFENCE_BPF_OBJECT` names another one: that is how
//! `cargo xtask test` tries what it has just built from source. It is not compiled here, so that a plain `cargo build` needs a
//! stable compiler only. The other two are: the same compiler makes them, for the same machine, without a C library.
//!
//! What tells objects apart at run time, `$RINGFENCE_OBJECT_DIGEST`, is computed here as well: every run asks for it. So is what tells
//! compilers of profiles apart, `$RINGFENCE_COMPILER_DIGEST`: what one has compiled, another does not take for its own.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const CHECKED_IN: &str = "src/kernel/ringfence.bpf.o";
const CHOICE: &str = "RINGFENCE_BPF_OBJECT";

/// All that makes a policy, or a filter of system calls, out of a profile.
const COMPILER: [&str; 8] = [
    "src/command/compiled.rs",
    "src/command/look.rs",
    "src/compile",
    "src/policy",
    "src/profile",
    "src/confine/seccomp",
    "src/confine/seccomp.rs",
    "src/confine/syscalls.rs",
];
/// What it is made of besides, where this is built in its repository: the border's sources, the shipped profiles, the versions of the
/// libraries. A package of a registry has one version of all of it.
const BESIDES: [&str; 3] = ["../sandbox-ebpf/abi/src", "../profiles", "../Cargo.lock"];

/// Programs of their own, by what they are called and where their sources are.
const PROGRAMS: [(&str, &str); 2] = [("launch", "launcher"), ("hook", "hook")];

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    choose_object()?;
    name_compiler()?;
    PROGRAMS.into_iter().try_for_each(compile_program)
}

fn name_compiler() -> Result<(), String> {
    let mut files = Vec::new();
    for path in COMPILER {
        files_below(Path::new(path), &mut files)?;
    }
    for path in BESIDES.map(Path::new) {
        if path.exists() {
            files_below(path, &mut files)?;
        }
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    env::var("CARGO_PKG_VERSION").ok().hash(&mut hasher);
    for path in files {
        println!("cargo::rerun-if-changed={}", path.display());
        let text = fs::read(&path);
        let text = text.map_err(|error| format!("could not read {}: {error}", path.display()))?;
        (path, text).hash(&mut hasher);
    }
    println!(
        "cargo::rustc-env=RINGFENCE_COMPILER_DIGEST={:016x}",
        hasher.finish()
    );
    Ok(())
}

fn files_below(path: &Path, into: &mut Vec<PathBuf>) -> Result<(), String> {
    if !path.is_dir() {
        into.push(path.to_owned());
        return Ok(());
    }
    // A file that comes or goes changes its folder.
    println!("cargo::rerun-if-changed={}", path.display());
    let unreadable = |error| format!("could not list {}: {error}", path.display());
    for entry in fs::read_dir(path).map_err(unreadable)? {
        files_below(&entry.map_err(unreadable)?.path(), into)?;
    }
    Ok(())
}

/// A program of its own, for whatever image a container has or to be executed at once: static, and a few kilobytes.
fn compile_program((name, sources): (&str, &str)) -> Result<(), String> {
    println!("cargo::rerun-if-changed={sources}");
    let mut compiler = Command::new(variable("RUSTC")?);
    compiler
        .args(["--edition=2024", "--crate-name", name, "--crate-type=bin"])
        .args(["-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols"])
        .args(["-Crelocation-model=static", "-Clink-arg=-static"])
        .args(["-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib"])
        .arg("--target")
        .arg(variable("TARGET")?)
        .arg("-o")
        .arg(variable("OUT_DIR")?.join(name))
        .arg(
            variable("CARGO_MANIFEST_DIR")?
                .join(sources)
                .join("main.rs"),
        );
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut word = std::ffi::OsString::from("-Clinker=");
        word.push(linker);
        compiler.arg(word);
    }
    let status = compiler
        .status()
        .map_err(|error| format!("could not start {compiler:?}: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!(
            "the program of containers `{name}` does not compile: {compiler:?}"
        )),
    }
}

fn choose_object() -> Result<(), String> {
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
