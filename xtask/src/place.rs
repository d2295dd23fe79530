//! Where things are in the checkout.

use std::path::{Path, PathBuf};

/// The eBPF object that is checked in and embedded in the program, below the checkout's root.
pub(crate) const OBJECT: &str = "sandbox/src/kernel/ringfence.bpf.o";

/// What built [`OBJECT`]: bytes can be compared under the same compiler and linker only.
pub(crate) const OBJECT_BUILDER: &str = "sandbox/src/kernel/ringfence.bpf.builder";

/// The checkout's root.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Where cargo and this program put what they make.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |given| root().join(given))
}

/// Cargo's home: registry and installed programs.
pub(crate) fn cargo_home() -> PathBuf {
    match std::env::var_os("CARGO_HOME") {
        Some(given) => PathBuf::from(given),
        None => {
            PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cargo")
        }
    }
}
