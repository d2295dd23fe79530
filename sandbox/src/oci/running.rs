//! A container that somebody else has made: found in the state of the runtimes, and asked for there.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

use super::{Container, Error, Host, Runtime};

/// Where runtimes keep their state: a directory for each container in it (`runc --root`).
const ROOTS: [&str; 3] = ["/run/runc", "/run/crun", "/run/youki"];
/// Where engines keep a root for each of their namespaces.
const ROOTS_BELOW: [&str; 2] = ["/run/containerd/runc", "/run/docker/runtime-runc"];
/// Engines that know containers by other names as well.
const ENGINES: [&str; 3] = ["podman", "docker", "nerdctl"];
/// The shortest beginning of a name that engines make up which is taken for it: what they show.
const SHORT: usize = 12;
/// The length of such a name.
const WHOLE: usize = 64;

/// A container that is there.
#[derive(Clone, Debug)]
pub struct Running {
    /// Who it is.
    pub container: Container,
    /// Whether its command has been started.
    pub is_started: bool,
}

/// The answer of a runtime to `state` (OCI runtime specification, runtime.md).
#[derive(Debug, Deserialize)]
struct State {
    id: String,
    status: String,
    #[serde(default)]
    pid: i32,
    bundle: PathBuf,
    #[serde(default)]
    annotations: Option<HashMap<String, String>>,
}

/// A directory of a runtime's about one container.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    root: PathBuf,
    id: String,
}

impl Running {
    /// The container `name`: its name for the runtime, the first twelve characters or more of one that an engine has made up, or
    /// what podman, docker or nerdctl call it. `root` is where its runtime keeps its state, if that is none of the usual places.
    ///
    /// # Errors
    /// If there is none, more than one, or it has ended.
    pub fn find(name: &str, root: Option<&Path>, host: &Host) -> Result<Self, Error> {
        let roots = match root {
            Some(root) => vec![root.to_owned()],
            None => roots()?,
        };
        let mut found = places(&roots, name)?;
        if found.is_empty() && root.is_none() {
            for id in ENGINES.iter().filter_map(|engine| called(engine, name)) {
                found.extend(places(&roots, &id)?);
            }
            found.dedup();
        }
        let failed = |reason: String| Error::Running {
            id: name.to_owned(),
            reason,
        };
        let searched = || {
            let roots: Vec<_> = roots
                .iter()
                .map(|root| root.display().to_string())
                .collect();
            roots.join(", ")
        };
        match found.as_slice() {
            [] => Err(failed(format!(
                "there is none (looked in {}); --runtime-root says where its runtime keeps its state",
                searched()
            ))),
            [place] => place.ask(host),
            [one, other, ..] => Err(failed(format!(
                "there is one in {} and one in {}; --runtime-root says which",
                one.root.join(&one.id).display(),
                other.root.join(&other.id).display()
            ))),
        }
    }
}

impl Place {
    fn ask(&self, host: &Host) -> Result<Running, Error> {
        let failed = |reason: String| Error::Running {
            id: self.id.clone(),
            reason,
        };
        let runtime = Runtime::find(Some(self.runtime().as_ref()), host)?;
        let output = Command::new(&runtime.program)
            .arg("--root")
            .arg(&self.root)
            .args(["state", &self.id])
            .stdin(Stdio::null())
            .output()
            .map_err(Error::file("execute", &runtime.program))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(failed(text.trim().to_owned()));
        }
        Running::of_state(&output.stdout).map_err(failed)
    }

    /// Who can read it.
    fn runtime(&self) -> &'static str {
        if self.root.file_name().is_some_and(|name| name == "youki") {
            return "youki";
        }
        // crun's only file about a container (libcrun/status.c).
        match self.root.join(&self.id).join("status").exists() {
            true => "crun",
            false => "runc",
        }
    }
}

impl Running {
    fn of_state(text: &[u8]) -> Result<Self, String> {
        let state: State = serde_json::from_slice(text)
            .map_err(|error| format!("its runtime says something else than its state: {error}"))?;
        let is_started = match state.status.as_str() {
            "created" => false,
            "running" | "paused" => true,
            other => return Err(format!("it is {other}, and nothing of it can be recorded")),
        };
        if state.pid <= 0 {
            return Err("its runtime names no process of it".to_owned());
        }
        Ok(Self {
            container: Container {
                id: state.id,
                pid: state.pid,
                is_gone: false,
                bundle: state.bundle,
                annotations: state.annotations.unwrap_or_default(),
            },
            is_started,
        })
    }
}

fn roots() -> Result<Vec<PathBuf>, Error> {
    let mut roots: Vec<PathBuf> = ROOTS.iter().map(PathBuf::from).collect();
    for above in ROOTS_BELOW {
        roots.extend(
            names_in(above.as_ref())?
                .into_iter()
                .map(|name| Path::new(above).join(name)),
        );
    }
    Ok(roots)
}

/// Where `name` is, in any of `roots`.
fn places(roots: &[PathBuf], name: &str) -> Result<Vec<Place>, Error> {
    let mut found = Vec::new();
    for root in roots {
        let ids = names_in(root)?;
        let ids = ids.into_iter().filter(|id| is_meant(id, name));
        found.extend(ids.map(|id| Place {
            root: root.clone(),
            id,
        }));
    }
    // A name that is spelled out is meant more than one that begins like it.
    if found.iter().any(|place| place.id == name) {
        found.retain(|place| place.id == name);
    }
    Ok(found)
}

fn is_meant(id: &str, name: &str) -> bool {
    let made_up = id.len() == WHOLE && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    id == name || (made_up && name.len() >= SHORT && id.starts_with(name))
}

fn names_in(directory: &Path) -> Result<Vec<String>, Error> {
    let listing = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::file("read", directory))?,
    };
    let mut names = Vec::new();
    for entry in listing {
        let entry = entry.map_err(Error::file("read", directory))?;
        // Names of containers are ASCII in every runtime.
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// What `engine` calls the container `name` towards its runtime, if it is there and knows one.
fn called(engine: &str, name: &str) -> Option<String> {
    let output = Command::new(engine)
        .args(["container", "inspect", "--format", "{{.Id}}", "--", name])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let id = text.trim();
    (output.status.success() && !id.is_empty() && !id.contains(['\n', '/'])).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4cf12bd0c5a0ab0b7a9c5a3f4cf12bd0c5a0ab0b7a9c5a3f4cf12bd0c5a0ab0b";

    #[test]
    fn a_made_up_name_may_be_cut_and_another_may_not() {
        assert!(is_meant(ID, ID) && is_meant(ID, &ID[..SHORT]));
        assert!(!is_meant(ID, &ID[..SHORT - 1]) && !is_meant(ID, ""));
        assert!(is_meant("web", "web") && !is_meant("webserver-of-mine", "webserver-of"));
    }

    #[test]
    fn a_name_is_found_in_one_root_or_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let roots = ["a", "b"].map(|name| folder.path().join(name));
        for below in ["a/web", "b/web", "b/one"] {
            fs::create_dir_all(folder.path().join(below)).unwrap();
        }
        assert_eq!(places(&roots, "web").unwrap().len(), 2);
        assert_eq!(places(&roots, "one").unwrap()[0].root, roots[1]);
        assert_eq!(places(&roots, "none").unwrap(), []);
        let host = Host::default();
        let error = Running::find("none", Some(&roots[0]), &host).unwrap_err();
        assert!(error.to_string().contains("--runtime-root"), "{error}");
    }

    #[test]
    fn a_state_says_whether_there_is_something_to_record() {
        let state = |status: &str, pid: i32| {
            let text = format!(
                r#"{{"ociVersion":"1","id":"c","status":"{status}","pid":{pid},"bundle":"/b"}}"#
            );
            Running::of_state(text.as_bytes())
        };
        assert!(state("running", 7).unwrap().is_started);
        assert!(state("paused", 7).unwrap().is_started);
        assert!(!state("created", 7).unwrap().is_started);
        assert!(state("stopped", 0).unwrap_err().contains("stopped"));
        assert!(state("running", 0).is_err());
    }
}
