//! The real runtime: found, and handed over to.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::{fs::MetadataExt as _, fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use super::{Error, Host};

/// Runtimes, in the order in which they are looked for.
const KNOWN: [&str; 3] = ["runc", "crun", "youki"];
/// What ringfence is called to stand for a runtime: `ringfence-runc`.
const PREFIX: &str = "ringfence-";

/// The program of a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Absolute.
    pub program: PathBuf,
}

impl Runtime {
    /// The runtime that `name` stands for, if ringfence was called by one of the names `ringfence-runc` and so on.
    #[must_use]
    pub fn meant_by(name: &OsStr) -> Option<&'static str> {
        let name = Path::new(name).file_name()?.to_str()?;
        let name = name.strip_prefix(PREFIX)?;
        KNOWN.into_iter().find(|known| *known == name)
    }

    /// Finds the runtime: `given` by path or name, `RINGFENCE_RUNTIME`, the host's configuration, or the first that is known.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(given: Option<&OsStr>, host: &Host) -> Result<Self, Error> {
        let chosen = given
            .map(OsStr::to_owned)
            .or_else(|| env::var_os("RINGFENCE_RUNTIME").filter(|value| !value.is_empty()))
            .or_else(|| host.runtime.clone().map(PathBuf::into_os_string));
        let names: Vec<OsString> = match chosen {
            Some(chosen) => vec![chosen],
            None => KNOWN.map(OsString::from).to_vec(),
        };
        let ourselves = env::current_exe().ok().and_then(|path| identity(&path));
        for name in &names {
            for program in candidates(name) {
                // A link called runc that leads to ringfence would go round in a circle.
                let found = identity(&program);
                if found.is_some() && found != ourselves {
                    return Ok(Self { program });
                }
            }
        }
        let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
        Err(Error::NoRuntime {
            looked_for: names.join(", "),
        })
    }
}

/// Becomes the runtime; returns only if that fails.
#[must_use]
pub fn hand_over(runtime: &Runtime, words: &[OsString]) -> Error {
    let source = Command::new(&runtime.program).args(words).exec();
    Error::file("execute", &runtime.program)(source)
}

fn candidates(name: &OsStr) -> Vec<PathBuf> {
    if name.as_encoded_bytes().contains(&b'/') {
        return vec![name.into()];
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
    env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .chain(usual.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .collect()
}

/// What tells whether two paths are one program; `None` if it cannot be executed.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(path).ok()?;
    let runs = found.is_file() && found.permissions().mode() & 0o111 != 0;
    runs.then_some((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_a_runtime() {
        let meant = |name: &str| Runtime::meant_by(OsStr::new(name));
        assert_eq!(meant("/usr/local/bin/ringfence-runc"), Some("runc"));
        assert_eq!(meant("ringfence-crun"), Some("crun"));
        assert_eq!(meant("ringfence"), None);
        assert_eq!(meant("ringfence-other"), None);
    }

    #[test]
    fn a_runtime_that_is_not_there_is_an_error() {
        let given = OsStr::new("/no/such/runtime");
        assert!(Runtime::find(Some(given), &Host::default()).is_err());
    }
}
