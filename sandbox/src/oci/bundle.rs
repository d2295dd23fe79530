//! A bundle's config.json: what a fence needs to know of it, and what it puts in.

use std::{
    collections::HashMap,
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use oci_spec::runtime::Spec;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{Error, Launcher, Left, calls, limits, narrowed};
use crate::policy::{ClosedCall, Limits};

/// A bundle that was read.
#[derive(Debug)]
pub struct Bundle {
    file: PathBuf,
    value: Value,
    spec: Spec,
    directory: PathBuf,
}

/// The first process of a container, as far as rules speak of it.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Its words.
    pub arguments: Vec<String>,
    /// Its variables.
    pub environment: HashMap<String, String>,
    /// Its working directory.
    pub directory: PathBuf,
    /// Its user.
    pub uid: u32,
    /// Whether exec may give no privileges.
    pub no_new_privileges: bool,
}

/// What is put into a bundle.
#[derive(Clone, Debug)]
pub struct Fencing {
    /// The program that the hooks run, absolute.
    pub program: PathBuf,
    /// The hooks' words: that of createRuntime, then that of poststop.
    pub hooks: [Vec<String>; 2],
    /// What its processes are left.
    pub left: Left,
    /// System calls that its filter closes: those that stand without a condition in any filter, the others where the bundle has
    /// none.
    pub closed: Vec<ClosedCall>,
    /// Limits of the whole container.
    pub limits: Limits,
    /// What stands in front of the process' own command, if something does.
    pub launcher: Option<Launcher>,
}

impl Bundle {
    /// Reads the configuration of the bundle in `directory`.
    ///
    /// # Errors
    /// If it cannot be read, or is no configuration.
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let file = &directory.join("config.json");
        let text = fs::read(file).map_err(Error::file("read", file))?;
        let value: Value =
            serde_json::from_slice(&text).map_err(|error| Error::content(file, &error))?;
        let spec = Spec::deserialize(&value).map_err(|error| Error::content(file, &error))?;
        Ok(Self {
            file: file.to_owned(),
            value,
            spec,
            directory: directory.to_owned(),
        })
    }

    /// The same bundle as it is now that it was changed.
    ///
    /// # Errors
    /// If it is no configuration any more.
    pub fn changed(&self) -> Result<Self, Error> {
        let spec =
            Spec::deserialize(&self.value).map_err(|error| Error::content(&self.file, &error))?;
        Ok(Self {
            file: self.file.clone(),
            value: self.value.clone(),
            spec,
            directory: self.directory.clone(),
        })
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its annotations.
    #[must_use]
    pub fn annotations(&self) -> HashMap<String, String> {
        self.spec.annotations().clone().unwrap_or_default()
    }

    /// The directory that becomes the container's root, absolute.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        let path = self.spec.root().as_ref().map(|root| root.path().clone());
        self.directory.join(path.unwrap_or_else(|| "rootfs".into()))
    }

    /// The first process.
    #[must_use]
    pub fn process(&self) -> Process {
        let Some(process) = self.spec.process() else {
            return Process::default();
        };
        let environment = process.env().iter().flatten().filter_map(|variable| {
            let (name, value) = variable.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        Process {
            arguments: process.args().clone().unwrap_or_default(),
            environment: environment.collect(),
            directory: process.cwd().clone(),
            uid: process.user().uid(),
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
        }
    }

    /// Whether it has a namespace of this kind that it does not share with anybody.
    #[must_use]
    pub fn has_own_namespace(&self, kind: &str) -> bool {
        let list = self.value["linux"]["namespaces"].as_array();
        let mut all = list.into_iter().flatten();
        all.any(|one| one["type"] == kind && one["path"].as_str().is_none_or(str::is_empty))
    }

    /// The file of the host's that an engine lays over `path`, which no image can choose.
    #[must_use]
    pub fn mounted_file(&self, path: &str) -> Option<PathBuf> {
        let mounts = self.value["mounts"].as_array()?;
        let mount = mounts
            .iter()
            .rev()
            .find(|mount| mount["destination"] == path)?;
        Some(self.directory.join(mount["source"].as_str()?))
    }

    /// Where its cgroup is to be, as the runtime reads it.
    #[must_use]
    pub fn cgroups_path(&self) -> Option<&str> {
        self.value["linux"]["cgroupsPath"].as_str()
    }

    /// Whether its processes get the label of another security module.
    #[must_use]
    pub fn is_labelled(&self) -> bool {
        ["apparmorProfile", "selinuxLabel"].iter().any(|label| {
            let label = self.value["process"][label].as_str();
            label.is_some_and(|label| !label.is_empty() && label != "unconfined")
        })
    }

    /// Puts the hooks in, and takes from the process what the fence does not leave it.
    pub fn fence(&mut self, fencing: &Fencing) {
        narrowed::change(&mut self.value, narrowed::OF_BUNDLE, |value| {
            if let Some(process) = value.get_mut("process") {
                fencing.left.take_from(process);
            }
            limits::lower(value, &fencing.limits);
            if !fencing.closed.is_empty() {
                calls::close(value, &fencing.closed);
            }
            if let Some(launcher) = &fencing.launcher {
                launcher.put_into(value);
            }
        });
        self.hook(&fencing.program, &fencing.hooks);
    }

    /// Puts the hooks in of a container that is recorded and not fenced.
    pub fn record(&mut self, program: &Path, hooks: &[Vec<String>; 2]) {
        self.hook(program, hooks);
    }

    /// Takes out what an earlier start has put in, whichever it was: a start begins with the bundle as its owner has made it.
    /// `launcher` is what may stand in front of the command.
    pub fn restore(&mut self, launcher: &Launcher) {
        launcher.take_out_of(&mut self.value);
        narrowed::restore(&mut self.value, narrowed::OF_BUNDLE);
        let Some(Value::Object(hooks)) = self.value.get_mut("hooks") else {
            return;
        };
        for kind in HOOKED {
            if let Some(Value::Array(list)) = hooks.get_mut(kind) {
                list.retain(|hook| !is_ours(hook));
            }
        }
    }

    /// Puts the hooks in that run `program`.
    fn hook(&mut self, program: &Path, hooks: &[Vec<String>; 2]) {
        for (kind, words) in HOOKED.into_iter().zip(hooks) {
            let list = member(member(&mut self.value, "hooks", json!({})), kind, json!([]));
            let Value::Array(list) = list else { continue };
            // The last: what other hooks lay into the container is there when its links are looked at.
            list.push(json!({ "path": program, "args": words, "env": [PATH] }));
        }
    }

    /// The first of `limits` that it does not keep.
    #[must_use]
    pub fn first_unlimited(&self, limits: &Limits) -> Option<&'static str> {
        limits::first_above(&self.value, limits)
    }

    /// The first of these calls that the bundle's filter lets through whatever its arguments.
    #[must_use]
    pub fn first_open(&self, closed: &[ClosedCall]) -> Option<&'static str> {
        calls::first_open(&self.value, closed)
    }

    /// Writes it in place of what was there, at once.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self) -> Result<(), Error> {
        replace(&self.file, &self.value)
    }
}

/// When our hooks are called.
const HOOKED: [&str; 2] = ["createRuntime", "poststop"];
/// What a hook's environment holds: the runtime passes none of its own.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Takes from the process in `file`, which is added to a container, what the fences around that do not leave it; `behind` says
/// whether the launcher is put in front of it. What was done to it for another container is taken back first.
///
/// # Errors
/// If the file cannot be read or written.
pub fn tighten_process(
    file: &Path,
    left: &[&Left],
    launcher: &Launcher,
    behind: bool,
) -> Result<(), Error> {
    let text = fs::read(file).map_err(Error::file("read", file))?;
    let mut value: Value =
        serde_json::from_slice(&text).map_err(|error| Error::content(file, &error))?;
    let before = value.clone();
    launcher.take_from_before(&mut value);
    narrowed::restore(&mut value, narrowed::OF_PROCESS);
    narrowed::change(&mut value, narrowed::OF_PROCESS, |process| {
        left.iter().for_each(|left| left.take_from(process));
    });
    if behind {
        launcher.put_before(&mut value);
    }
    if value == before {
        return Ok(());
    }
    replace(file, &value)
}

/// Whether a hook was put in by an earlier start of the same bundle.
fn is_ours(hook: &Value) -> bool {
    let words = hook.get("args").and_then(Value::as_array);
    words.is_some_and(|words| words.iter().take(3).eq(["ringfence", "oci", "hook"].iter()))
}

/// A member of an object, which is made if it is missing or null.
pub(super) fn member<'a>(value: &'a mut Value, name: &str, empty: Value) -> &'a mut Value {
    if !value.is_object() {
        *value = json!({});
    }
    let member = &mut value[name];
    if member.is_null() {
        *member = empty;
    }
    member
}

/// Replaces a file at once, with the same owner and mode.
fn replace(file: &Path, value: &Value) -> Result<(), Error> {
    let failed = || Error::file("write", file);
    let directory = file.parent().unwrap_or(Path::new("/"));
    let before = fs::metadata(file).map_err(failed())?;
    let mut new = tempfile::NamedTempFile::new_in(directory).map_err(failed())?;
    let text = serde_json::to_vec(value).map_err(|error| Error::content(file, &error))?;
    new.write_all(&text).map_err(failed())?;
    let mode = fs::Permissions::from_mode(before.mode() & 0o7777);
    new.as_file().set_permissions(mode).map_err(failed())?;
    chown(new.path(), Some(before.uid()), Some(before.gid())).map_err(failed())?;
    new.persist(file).map_err(|error| failed()(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAUNCHER: Launcher = Launcher {
        program: "/l/launch",
        place: "/l",
        descriptors: 0,
    };

    fn fencing() -> Fencing {
        Fencing {
            program: "/usr/bin/ringfence".into(),
            hooks: hooks(),
            left: Left {
                capabilities: vec!["chown".to_owned()],
                open_files: Some(7),
                ..Left::default()
            },
            closed: vec![ClosedCall {
                name: "mount",
                errno: 1,
                when: None,
            }],
            limits: Limits {
                pids: Some(10),
                ..Limits::default()
            },
            launcher: Some(LAUNCHER),
        }
    }

    fn hooks() -> [Vec<String>; 2] {
        [["ringfence", "oci", "hook"]; 2].map(|words| words.map(str::to_owned).to_vec())
    }

    /// The bundle after starts that each do this with it.
    fn started(text: &str, starts: &[&dyn Fn(&mut Bundle)]) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        fs::write(&file, text).unwrap();
        for start in starts {
            let mut bundle = Bundle::read(folder.path()).unwrap();
            bundle.restore(&LAUNCHER);
            start(&mut bundle);
            bundle.write().unwrap();
        }
        serde_json::from_slice(&fs::read(&file).unwrap()).unwrap()
    }

    fn fence(bundle: &mut Bundle) {
        bundle.fence(&fencing());
    }

    fn record(bundle: &mut Bundle) {
        bundle.record("/usr/bin/ringfence".as_ref(), &hooks());
    }

    fn fenced(text: &str) -> Value {
        started(text, &[&fence, &fence])
    }

    const BUNDLE: &str = r#"{"ociVersion":"1.0.2","vendor":{"x":1},"root":{"path":"rootfs"},
        "process":{"cwd":"/","args":["sh"],"user":{"uid":0,"gid":0},
        "capabilities":{"bounding":["CAP_CHOWN","CAP_KILL"],"effective":["CAP_KILL"]}},
        "mounts":[{"destination":"/proc","type":"proc"}],
        "linux":{"resources":{"pids":{"limit":20}},"seccomp":{"defaultAction":"SCMP_ACT_ERRNO",
        "syscalls":[{"names":["mount","read"],"action":"SCMP_ACT_ALLOW"}]}},
        "hooks":{"createRuntime":[{"path":"/other"}],"poststop":[]}}"#;

    #[test]
    fn the_hooks_stand_once_and_behind_those_of_others() {
        let value = fenced(BUNDLE);
        let hooks = value["hooks"]["createRuntime"].as_array().unwrap();
        assert_eq!(hooks.len(), 2);
        assert_eq!(hooks[0]["path"], "/other");
        assert_eq!(hooks[1]["path"], "/usr/bin/ringfence");
        assert_eq!(value["hooks"]["poststop"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn the_process_keeps_what_the_fence_leaves_it() {
        let value = fenced(BUNDLE);
        assert_eq!(
            value["process"]["capabilities"]["bounding"],
            json!(["CAP_CHOWN"])
        );
        assert_eq!(value["process"]["capabilities"]["effective"], json!([]));
        assert_eq!(value["process"]["noNewPrivileges"], json!(true));
    }

    #[test]
    fn what_the_library_does_not_know_stays() {
        assert_eq!(fenced(BUNDLE)["vendor"]["x"], json!(1));
    }

    #[test]
    fn a_start_that_is_recorded_begins_with_the_bundle_as_it_was() {
        let plain: Value = serde_json::from_str(BUNDLE).unwrap();
        assert_ne!(started(BUNDLE, &[&fence]), plain);
        assert_eq!(started(BUNDLE, &[&fence, &fence, &|_| {}]), plain);
        let recorded = started(BUNDLE, &[&record]);
        assert_eq!(started(BUNDLE, &[&fence, &record]), recorded);
        assert_eq!(recorded["process"], plain["process"]);
    }

    #[test]
    fn a_start_that_is_fenced_does_not_see_what_one_before_has_left() {
        let whole = |bundle: &mut Bundle| {
            let mut fencing = fencing();
            fencing.left.capabilities = ["chown", "kill"].map(str::to_owned).to_vec();
            bundle.fence(&fencing);
        };
        let once = started(BUNDLE, &[&whole]);
        assert_eq!(started(BUNDLE, &[&fence, &whole]), once);
        assert_eq!(started(BUNDLE, &[&record, &whole]), once);
        let kept = &once["process"]["capabilities"]["effective"];
        assert_eq!(*kept, json!(["CAP_KILL"]));
    }

    #[test]
    fn a_command_that_somebody_has_changed_since_then_is_kept() {
        let change = |bundle: &mut Bundle| {
            fence(bundle);
            bundle.value["process"]["args"] = json!(["id"]);
        };
        let value = started(BUNDLE, &[&change, &fence]);
        assert_eq!(value["process"]["args"], json!(["/l/launch", "0", "id"]));
    }

    #[test]
    fn the_description_of_a_process_is_for_one_container_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("process.json");
        let plain = json!({ "args": ["id"], "capabilities": { "effective": ["CAP_KILL"] } });
        fs::write(&file, plain.to_string()).unwrap();
        let now = || -> Value { serde_json::from_slice(&fs::read(&file).unwrap()).unwrap() };
        let left = Left::default();
        for _ in 0..2 {
            tighten_process(&file, &[&left, &left], &LAUNCHER, true).unwrap();
            let added = now();
            assert_eq!(added["args"], json!(["/l/launch", "0", "id"]));
            assert_eq!(added["capabilities"]["effective"], json!([]));
        }
        tighten_process(&file, &[], &LAUNCHER, false).unwrap();
        assert_eq!(now(), plain);
    }
}
