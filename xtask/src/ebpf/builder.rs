//! The compiler and linker of the kernel half: found, or installed, or the error says what to install.
//!
//! `bpfel-unknown-none` comes with no built `core`, so the compiler must bring its source. Two are looked for: rustup's
//! nightly with `rust-src`, and Debian's `rustc-web`, whose stable compiler is let use `-Z build-std`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages::{Need, ensure, install_packages, need};
use crate::place;
use crate::tool::{find, is_root, read, run, say};

/// The version that the object is linked with. Another one gives other bytes.
const LINKER_VERSION: &str = "0.13.0";
/// The LLVM that the linker is built against: not older than that of the compiler.
const LLVM: &str = "22";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN: [Need; 3] = [
    need(&[DEBIAN_RUSTC], "rustc-web"),
    need(&[DEBIAN_CARGO], "cargo-web"),
    need(
        &["/usr/lib/rustlib/src/rust/library/core/Cargo.toml"],
        "rust-web-src",
    ),
];
const OBJCOPY: [&str; 2] = ["/usr/lib/llvm-22/bin/llvm-objcopy", "llvm-objcopy"];

/// Where the compiler comes from.
enum Compiler {
    /// rustup's nightly.
    Nightly,
    /// The distribution's.
    Debian,
}

/// Everything that turns the source into an object.
pub(crate) struct Builder {
    compiler: Compiler,
    /// Where the compiler keeps the source of `core`, symbolic links followed or not: both may end up in an object.
    sources: Vec<PathBuf>,
    objcopy: PathBuf,
    identity: String,
}

impl Builder {
    /// Finds compiler and linker. With `install` and as root, what is missing is installed.
    pub(crate) fn find(install: bool) -> Result<Self> {
        let compiler = compiler(install)?;
        let linker = linker(install)?;
        let Some(objcopy) = OBJCOPY.iter().find_map(|one| find(one)) else {
            bail!(
                "llvm-objcopy is missing; as root: apt-get install --no-install-recommends llvm-{LLVM}-dev"
            );
        };
        let version = read(rustc(&compiler).arg("--version"))?;
        let library = PathBuf::from(read(rustc(&compiler).args(["--print", "sysroot"]))?.trim())
            .join("lib/rustlib/src/rust");
        let mut sources: Vec<PathBuf> = library.canonicalize().into_iter().collect();
        // Where `core` has a place of its own outside of the sysroot, the link's end is what the compiler prints.
        sources.extend(
            library
                .join("library")
                .canonicalize()
                .ok()
                .and_then(|seen| seen.parent().map(Path::to_owned)),
        );
        sources.push(library);
        sources.dedup();
        let identity = format!("{}, {linker}", version.trim());
        Ok(Self {
            compiler,
            sources,
            objcopy,
            identity,
        })
    }

    /// Compiler and linker in one line: the same line, the same bytes.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// Folders of the compiler's own source, whose place must not show in an object.
    pub(crate) fn sources(&self) -> &[PathBuf] {
        &self.sources
    }

    /// A program that can drop sections from an eBPF object.
    pub(crate) fn objcopy(&self) -> Command {
        Command::new(&self.objcopy)
    }

    /// `cargo`, set up for this compiler, with nothing of the cargo that runs us.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = match self.compiler {
            Compiler::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "cargo"]);
                command
            }
            Compiler::Debian => Command::new(DEBIAN_CARGO),
        };
        forget_outer_cargo(&mut command);
        if let Compiler::Debian = self.compiler {
            command
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }
}

fn rustc(compiler: &Compiler) -> Command {
    let mut command = match compiler {
        Compiler::Nightly => {
            let mut command = Command::new("rustup");
            command.args(["run", "nightly", "rustc"]);
            command
        }
        Compiler::Debian => Command::new(DEBIAN_RUSTC),
    };
    forget_outer_cargo(&mut command);
    command
}

/// `cargo xtask` is a cargo that runs a cargo: rustup's choice of toolchain, the outer compiler's flags and its library
/// path would all leak into the inner one.
fn forget_outer_cargo(command: &mut Command) {
    const KEPT: [&str; 4] = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR"];
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let ours = [
            "CARGO",
            "RUSTC",
            "RUSTFLAGS",
            "RUSTDOC",
            "RUSTUP_TOOLCHAIN",
            "LD_LIBRARY_PATH",
        ];
        if ours.iter().any(|start| name.starts_with(start))
            && !KEPT.iter().any(|start| name.starts_with(start))
        {
            command.env_remove(&name);
        }
    }
    let mut folders = vec![place::cargo_home().join("bin")];
    folders.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    if let Ok(joined) = std::env::join_paths(folders) {
        command.env("PATH", joined);
    }
}

fn compiler(install: bool) -> Result<Compiler> {
    if let Ok(sysroot) = read(rustc(&Compiler::Nightly).args(["--print", "sysroot"]))
        && Path::new(sysroot.trim())
            .join("lib/rustlib/src/rust/library/core/Cargo.toml")
            .exists()
    {
        return Ok(Compiler::Nightly);
    }
    ensure(&DEBIAN, install, "building the eBPF object").context(
        "no compiler brings the source of `core`: either `rustup toolchain install nightly --component rust-src`, or, \
         on Debian, the packages below",
    )?;
    Ok(Compiler::Debian)
}

fn linker(install: bool) -> Result<String> {
    if let Some(found) = find("bpf-linker") {
        let version = read(Command::new(&found).arg("--version"))?
            .trim()
            .to_owned();
        if version.ends_with(LINKER_VERSION) || !install {
            return Ok(version);
        }
        say(format!(
            "{version} is here, but the object is linked with {LINKER_VERSION}"
        ));
    }
    let (prefix, version) = (
        format!("/usr/lib/llvm-{LLVM}"),
        ["--version", LINKER_VERSION],
    );
    let features = ["--no-default-features", "--features", "llvm-22"];
    if !install || !is_root() {
        bail!(
            "bpf-linker is missing; as root: apt-get install --no-install-recommends llvm-{LLVM}-dev; then: \
             LLVM_PREFIX={prefix} cargo install bpf-linker {} {}",
            version.join(" "),
            features.join(" ")
        );
    }
    // What LLVM's own link line asks for: zlib, zstd, libxml and ncurses come with the -dev package or these.
    install_packages(&[
        "llvm-22-dev",
        "zlib1g-dev",
        "libzstd-dev",
        "libxml2-dev",
        "g++",
    ])?;
    say(format!(
        "building bpf-linker {LINKER_VERSION} (some minutes)"
    ));
    let mut command = Command::new("cargo");
    forget_outer_cargo(&mut command);
    run(command
        .args(["install", "--quiet", "--force", "--locked", "bpf-linker"])
        .args(version)
        .args(features)
        .env("LLVM_PREFIX", prefix)
        .current_dir("/"))?;
    let found = find("bpf-linker")
        .context("cargo installed bpf-linker, but it is not on PATH nor in cargo's bin")?;
    Ok(read(Command::new(found).arg("--version"))?
        .trim()
        .to_owned())
}
