//! Telling an engine of the runtime: which files that takes, and how to take it back.
//!
//! Planned first and done after, so that `--dry-run` shows exactly what would be. What is there already and is not ours is
//! never replaced.

mod change;
mod containerd;

use std::path::{Path, PathBuf};

pub use change::Change;

use super::{Error, messenger};

/// The link that engines call: its name says which runtime it stands for.
const LINK: &str = "usr/local/bin/ringfence-runc";
/// What the runtime calls as hook.
const HOOK: &str = "usr/local/bin/ringfence-hook";
/// What is called a runtime by this name in an engine.
pub const RUNTIME: &str = "ringfence";
/// What a file of ours begins with.
const MARK: &str = "# Written by `ringfence oci install`; `ringfence oci uninstall` removes it.\n";

/// An engine that starts containers by a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerEngine {
    /// containerd, and what stands on it: Docker, Kubernetes, nerdctl.
    Containerd,
    /// podman.
    Podman,
    /// CRI-O.
    Crio,
}

impl ContainerEngine {
    const ALL: [Self; 3] = [Self::Containerd, Self::Podman, Self::Crio];

    /// Its name, as it is given to `install`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Podman => "podman",
            Self::Crio => "crio",
        }
    }

    /// Its file, below the root of a host.
    const fn file(self) -> &'static str {
        match self {
            Self::Containerd => "etc/containerd/config.toml",
            Self::Podman => "etc/containers/containers.conf.d/ringfence.conf",
            Self::Crio => "etc/crio/crio.conf.d/10-ringfence.conf",
        }
    }

    /// What its file says with the runtime in it, given what it says now.
    fn with(self, now: Option<&str>, path: &Path) -> Result<String, Error> {
        let link = Path::new("/").join(LINK);
        let link = link.display();
        match self {
            Self::Containerd => containerd::with(now.unwrap_or(""), &link.to_string(), path),
            Self::Podman => Ok(format!(
                "{MARK}[engine.runtimes]\n{RUNTIME} = [\"{link}\"]\n"
            )),
            Self::Crio => Ok(format!(
                "{MARK}[crio.runtime.runtimes.{RUNTIME}]\nruntime_path = \"{link}\"\nruntime_type = \"oci\"\n\
                 runtime_root = \"/run/runc\"\n"
            )),
        }
    }

    /// What its file says without the runtime, `None` if nothing is left, given what it says now.
    fn without(self, now: &str, path: &Path) -> Result<Option<String>, Error> {
        match self {
            Self::Containerd => containerd::without(now, path),
            Self::Podman | Self::Crio => Ok(None),
        }
    }

    /// Whether `text`, its file, has the runtime in it by our hand.
    fn has(self, text: &str) -> bool {
        match self {
            Self::Containerd => containerd::has(text),
            Self::Podman | Self::Crio => text.starts_with(MARK),
        }
    }

    /// How it takes notice.
    #[must_use]
    pub const fn notice(self) -> &'static str {
        match self {
            Self::Containerd => {
                "restart it (systemctl restart containerd); for Kubernetes, a RuntimeClass with the handler `ringfence`"
            }
            Self::Podman => "nothing to restart: podman --runtime ringfence run ...",
            Self::Crio => {
                "restart it (systemctl restart crio); then a RuntimeClass with the handler `ringfence`"
            }
        }
    }
}

/// What it takes on the host below `root` that `engine` finds the program at `program` as a runtime.
///
/// # Errors
/// If a file is there that is not ours, or cannot be read or understood.
pub fn install(engine: ContainerEngine, root: &Path, program: &Path) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    let link = root.join(LINK);
    match change::link(&link)? {
        Some(leads) if leads == program => {}
        Some(leads) => {
            let reason = format!("it is there and leads to {}", leads.display());
            return Err(Error::content(link, &reason));
        }
        None => changes.push(Change::Link(link, program.to_owned())),
    }
    let hook = root.join(HOOK);
    // One of an earlier version, which this one does not call, is ours as well.
    if change::program(&hook)?.as_deref() != Some(messenger::PROGRAM) {
        changes.push(Change::Program(hook, messenger::PROGRAM));
    }
    let path = root.join(engine.file());
    let now = change::text(&path)?;
    let is_others = engine != ContainerEngine::Containerd
        && now.as_deref().is_some_and(|text| !engine.has(text));
    if is_others {
        let reason = "it is there and not from `ringfence oci install`".to_owned();
        return Err(Error::content(path, &reason));
    }
    let text = engine.with(now.as_deref(), &path)?;
    if now.as_deref() != Some(&text) {
        changes.push(Change::Write(path, text));
    }
    Ok(changes)
}

/// The engines on the host below `root` that have the runtime, and what each would take to have it as the program at `program` installs it:
/// something, where another version has done that.
///
/// # Errors
/// If a file cannot be read.
pub fn installed(root: &Path, program: &Path) -> Result<Vec<Installed>, Error> {
    let mut found = Vec::new();
    for engine in ContainerEngine::ALL {
        let text = change::text(&root.join(engine.file()))?;
        if text.is_some_and(|text| engine.has(&text)) {
            found.push((engine, install(engine, root, program)));
        }
    }
    Ok(found)
}

/// An engine, and the result of planning [`install`] for it.
pub type Installed = (ContainerEngine, Result<Vec<Change>, Error>);

/// What takes [`install`] back. The link stays while another engine calls it.
///
/// # Errors
/// If a file cannot be read or understood.
pub fn uninstall(engine: ContainerEngine, root: &Path) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    let path = root.join(engine.file());
    if let Some(now) = change::text(&path)?.filter(|text| engine.has(text)) {
        changes.push(match engine.without(&now, &path)? {
            Some(text) => Change::Write(path, text),
            None => Change::Remove(path),
        });
    }
    let mut others = ContainerEngine::ALL
        .into_iter()
        .filter(|one| *one != engine);
    let is_needed = others.try_fold(false, |needed, other| {
        let text = change::text(&root.join(other.file()))?;
        Ok::<_, Error>(needed || text.is_some_and(|text| other.has(&text)))
    })?;
    let link = root.join(LINK);
    if !is_needed && change::link(&link)?.is_some_and(|leads| is_ringfence(&leads)) {
        changes.push(Change::Remove(link));
        let hook = root.join(HOOK);
        if change::program(&hook)?.is_some() {
            changes.push(Change::Remove(hook));
        }
    }
    Ok(changes)
}

fn is_ringfence(program: &Path) -> bool {
    program.file_name() == Some("ringfence".as_ref())
}

/// Does it.
///
/// # Errors
/// If a file cannot be written; what was done before stays.
pub fn apply(changes: &[Change]) -> Result<(), Error> {
    changes.iter().try_for_each(Change::apply)
}

/// The file of the program that runs, for the link.
///
/// # Errors
/// If the kernel does not tell.
pub fn own_program() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(Error::file("find the program", "/proc/self/exe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    const PROGRAM: &str = "/usr/bin/ringfence";

    fn carried_out(engine: ContainerEngine, root: &Path) -> Result<Vec<Change>, Error> {
        let changes = install(engine, root, Path::new(PROGRAM))?;
        apply(&changes)?;
        Ok(changes)
    }

    #[test]
    fn what_is_installed_twice_changes_nothing_the_second_time() {
        for engine in ContainerEngine::ALL {
            let root = tempfile::tempdir().unwrap();
            assert_eq!(carried_out(engine, root.path()).unwrap().len(), 3);
            assert_eq!(carried_out(engine, root.path()).unwrap(), []);
            let link = fs::read_link(root.path().join(LINK)).unwrap();
            assert_eq!(link, Path::new(PROGRAM));
            let hook = root.path().join(HOOK);
            assert_eq!(fs::read(&hook).unwrap(), messenger::PROGRAM);
            fs::write(&hook, "of another version").unwrap();
            assert_eq!(carried_out(engine, root.path()).unwrap().len(), 1);
        }
    }

    #[test]
    fn what_another_version_has_installed_is_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let found = || {
            let found = installed(root.path(), Path::new(PROGRAM)).unwrap();
            let engine = |(engine, plan): Installed| (engine.name(), plan.unwrap().len());
            found.into_iter().map(engine).collect::<Vec<_>>()
        };
        assert_eq!(found(), []);
        carried_out(ContainerEngine::Podman, root.path()).unwrap();
        assert_eq!(found(), [("podman", 0)]);
        fs::write(root.path().join(HOOK), "of another version").unwrap();
        assert_eq!(found(), [("podman", 1)]);
        let another = installed(root.path(), Path::new("/opt/ringfence")).unwrap();
        assert!(matches!(another.as_slice(), [(_, Err(_))]));
    }

    #[test]
    fn what_is_taken_back_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        for engine in ContainerEngine::ALL {
            carried_out(engine, root.path()).unwrap();
        }
        for engine in ContainerEngine::ALL {
            assert!(root.path().join(LINK).is_symlink(), "{engine:?}");
            apply(&uninstall(engine, root.path()).unwrap()).unwrap();
            assert!(!root.path().join(engine.file()).exists(), "{engine:?}");
        }
        assert!(!root.path().join(LINK).is_symlink());
        assert!(!root.path().join(HOOK).exists());
    }

    #[test]
    fn what_others_have_written_stays() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(ContainerEngine::Podman.file());
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "[engine]\n").unwrap();
        assert!(carried_out(ContainerEngine::Podman, root.path()).is_err());
        assert_eq!(uninstall(ContainerEngine::Podman, root.path()).unwrap(), []);
        let link = root.path().join(LINK);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        fs::write(&link, "#!/bin/sh\n").unwrap();
        assert!(carried_out(ContainerEngine::Crio, root.path()).is_err());
    }
}
