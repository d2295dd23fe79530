//! What the host's administrator has written down about containers.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::Error;

/// The host's configuration.
pub const CONFIGURATION: &str = "/etc/ringfence/config.toml";
/// The host's own profiles.
pub const PROFILES: &str = "/etc/ringfence/profiles";

/// The part of the configuration that is about containers; without a file, what holds if nothing is said.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Host {
    /// The real runtime.
    pub runtime: Option<PathBuf>,
    /// The profile of containers that name none.
    pub profile: Option<String>,
    /// Whether containers may name a profile.
    pub annotations: bool,
    /// Whether containers that name no profile are refused.
    pub named_only: bool,
    /// What judges containers.
    pub engine: HostEngine,
}

/// What judges containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostEngine {
    /// BPF LSM where it can be had, else the fallback.
    #[default]
    Auto,
    /// BPF LSM or nothing.
    BpfLsm,
    /// Landlock, mounts and seccomp.
    Fallback,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            runtime: None,
            profile: None,
            annotations: true,
            named_only: false,
            engine: HostEngine::default(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Configuration {
    containers: Host,
}

impl Host {
    /// Reads [`CONFIGURATION`].
    ///
    /// # Errors
    /// If it is there and cannot be read, holds what is not known, or is not root's alone.
    pub fn read() -> Result<Self, Error> {
        Self::read_from(Path::new(CONFIGURATION))
    }

    fn read_from(path: &Path) -> Result<Self, Error> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(Error::file("read", path))?,
        };
        belongs_to_root(path)?;
        let configuration: Configuration =
            toml::from_str(&text).map_err(|error| Error::content(path, &error))?;
        Ok(configuration.containers)
    }

    /// The host's own profile of this name, if there is one.
    ///
    /// # Errors
    /// If the name could lead elsewhere, or the file is not root's alone.
    pub fn profile_file(name: &str) -> Result<Option<PathBuf>, Error> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(Error::State(format!(
                "{name:?} is no name of a profile: letters, digits, `.`, `_` and `-`"
            )));
        }
        for ending in ["toml", "json"] {
            let path = Path::new(PROFILES).join(format!("{name}.{ending}"));
            if path.try_exists().map_err(Error::file("look at", &path))? {
                belongs_to_root(&path)?;
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

fn belongs_to_root(path: &Path) -> Result<(), Error> {
    let found = fs::metadata(path).map_err(Error::file("look at", path))?;
    if found.uid() != 0 || found.mode() & 0o022 != 0 {
        return Err(Error::Owner {
            path: path.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_refused() {
        let parsed: Result<Configuration, _> = toml::from_str("[containers]\nprofil = \"x\"\n");
        assert!(parsed.is_err());
        let parsed: Configuration =
            toml::from_str("[containers]\nprofile = \"x\"\nnamed-only = true\n").unwrap();
        assert_eq!(parsed.containers.profile.as_deref(), Some("x"));
        assert!(parsed.containers.named_only && parsed.containers.annotations);
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        for name in ["", ".", "..", "../x", "a/b", ".hidden", "a b"] {
            assert!(Host::profile_file(name).is_err(), "{name}");
        }
    }
}
