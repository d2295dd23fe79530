//! A bundle with busybox in it, made on the spot, and calls of a runtime about it.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::kit::{Folder, binary};

/// The shell's own applets that the tests use.
const APPLETS: [&str; 23] = [
    "sh", "flock", "timeout", "cat", "echo", "id", "ls", "mount", "sleep", "touch", "true", "cp",
    "kill", "unshare", "mv", "rm", "chroot", "mknod", "chmod", "nslookup", "grep", "nc", "ps",
];

/// A container to be.
pub(crate) struct Bundle {
    folder: Folder,
    /// The bare runtime's name.
    bare: String,
    runtime: PathBuf,
    id: String,
}

impl Bundle {
    /// Of a shell script, for this runtime: `ringfence-runc` and the like stand for the fenced one.
    pub(crate) fn of(runtime: &str, script: &str) -> Result<Self, Failed> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = Folder::new()?;
        let root = folder.at("rootfs");
        for name in ["bin", "proc", "sys", "dev", "tmp", "etc", "data"] {
            fs::create_dir_all(root.join(name))?;
        }
        fs::copy("/bin/busybox", root.join("bin/busybox"))?;
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet))?;
        }
        folder.file("rootfs/data/kept", "kept\n")?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("rf-{}-{number}", std::process::id());
        let program = match runtime.strip_prefix("ringfence-") {
            Some(_) => installed(&folder, runtime)?,
            None => PathBuf::from(runtime),
        };
        let bare = runtime.trim_start_matches("ringfence-").to_owned();
        let bundle = Self {
            runtime: callable(&folder, &bare, program)?,
            folder,
            bare,
            id,
        };
        bundle.write(&configuration(&bundle.id, script))?;
        Ok(bundle)
    }

    /// With a change of its configuration.
    pub(crate) fn with(self, change: impl FnOnce(&mut Value)) -> Result<Self, Failed> {
        let mut value = self.configuration()?;
        change(&mut value);
        self.write(&value)?;
        Ok(self)
    }

    /// Recorded instead of fenced: its profile goes to `file`.
    pub(crate) fn learning(mut self, file: &Path) -> Result<Self, Failed> {
        let words = format!(
            "exec '{}' oci runtime --runtime {} --learn '{}' -- \"$@\"",
            binary().display(),
            self.bare,
            file.display()
        );
        let program = script(&self.folder, "learning", &words)?;
        self.runtime = callable(&self.folder, &self.bare, program)?;
        Ok(self)
    }

    /// With a profile of the host's, by annotation.
    pub(crate) fn named(self, profile: &str) -> Result<Self, Failed> {
        self.with(|value| value["annotations"] = json!({ "dev.ringfence.profile": profile }))
    }

    /// The configuration as it is on disk.
    pub(crate) fn configuration(&self) -> Result<Value, Failed> {
        Ok(serde_json::from_slice(&fs::read(
            self.folder.at("config.json"),
        )?)?)
    }

    /// A file on the container's root.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.folder.at("rootfs").join(path)
    }

    /// The container's name.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What is called to run it.
    pub(crate) fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// The bundle.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Its first process, as its runtime says.
    pub(crate) fn pid(&self) -> Result<i64, Failed> {
        let state = self.state()?;
        Ok(state["pid"].as_i64().ok_or("the state has no pid")?)
    }

    /// Its state, as its runtime says.
    pub(crate) fn state(&self) -> Result<Value, Failed> {
        let told = self.call(&["state", "@"])?;
        told.claim(told.code() == Some(0), "a state")?;
        Ok(serde_json::from_str(&told.out())?)
    }

    /// The container's cgroup.
    pub(crate) fn cgroup(&self) -> Result<PathBuf, Failed> {
        let hierarchy = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
        let hierarchy = hierarchy
            .into_iter()
            .find(|above| Path::new(above).join("cgroup.procs").exists())
            .ok_or("no cgroup2 hierarchy is mounted")?;
        Ok(Path::new(hierarchy).join("ringfence-test").join(&self.id))
    }

    /// The runtime with these words, in which `@` stands for the container's name.
    pub(crate) fn call(&self, words: &[&str]) -> Result<Ended, Failed> {
        let mut command = Command::new(&self.runtime);
        command
            .args(
                words
                    .iter()
                    .map(|word| if *word == "@" { self.id.as_str() } else { word }),
            )
            .current_dir(self.path())
            .stdin(Stdio::null());
        let output = unless_busy(|| command.output())
            .map_err(|error| format!("could not start {command:?}: {error}"))?;
        Ok(Ended {
            shown: format!("{command:?}"),
            output,
        })
    }

    /// The program by its own name with these words, in the bundle's directory; `@` is the container's name.
    pub(crate) fn plain(&self, words: &[&str]) -> Result<Ended, Failed> {
        let mut command = Command::new(binary());
        command
            .args(
                words
                    .iter()
                    .map(|word| if *word == "@" { self.id.as_str() } else { word }),
            )
            .current_dir(self.path())
            .stdin(Stdio::null());
        let output = unless_busy(|| command.output())?;
        Ok(Ended {
            shown: format!("{command:?}"),
            output,
        })
    }

    /// A shell script in the bundle, whose `$0` is the runtime and `$1` the container's name.
    pub(crate) fn by_shell(&self, script: &str) -> Result<Ended, Failed> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", script])
            .arg(&self.runtime)
            .arg(&self.id)
            .current_dir(self.path())
            .stdin(Stdio::null());
        let output = unless_busy(|| command.output())?;
        Ok(Ended {
            shown: format!("{command:?}"),
            output,
        })
    }

    /// `create`, whose output is the container's: it goes to a file, for the container keeps it open.
    pub(crate) fn create(&self) -> Result<Ended, Failed> {
        let out = fs::File::create(self.folder.at("out"))?;
        let mut command = Command::new(&self.runtime);
        command
            .args(["create", "--bundle"])
            .arg(self.path())
            .arg(&self.id)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        let status = unless_busy(|| command.status())?;
        Ok(Ended {
            shown: format!("{command:?}"),
            output: Output {
                status,
                stdout: Vec::new(),
                stderr: fs::read(self.folder.at("out"))?,
            },
        })
    }

    fn write(&self, value: &Value) -> Result<(), Failed> {
        fs::write(self.folder.at("config.json"), serde_json::to_vec(value)?)?;
        Ok(())
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // Of a test that has failed, perhaps; of any other there is nothing left.
        self.call(&["delete", "--force", "@"]).ok();
    }
}

/// A call that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    shown: String,
    output: Output,
}

impl Ended {
    /// Its exit code.
    pub(crate) fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// Standard output.
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// Standard error.
    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// It succeeded and said exactly this.
    pub(crate) fn says(&self, text: &str) -> Result<(), Failed> {
        self.claim(self.code() == Some(0) && self.out() == text, text)
    }

    /// It succeeded, and this holds of what it said.
    pub(crate) fn claim_out(&self, holds: impl FnOnce(&str) -> bool) -> Result<(), Failed> {
        self.claim(
            self.code() == Some(0) && holds(&self.out()),
            "another output",
        )
    }

    /// It failed, and its complaint holds this.
    pub(crate) fn complains(&self, text: &str) -> Result<(), Failed> {
        self.claim(self.code() != Some(0) && self.err().contains(text), text)
    }

    /// A claim, shown with the whole call when it is not true.
    pub(crate) fn claim(&self, holds: bool, expected: &str) -> Result<(), Failed> {
        if holds {
            return Ok(());
        }
        let Self { shown, output } = self;
        Err(format!(
            "expected {expected:?}\ncommand: {shown}\nended:   {}\n--- standard output\n{}--- standard error\n{}---",
            output.status,
            self.out(),
            self.err()
        )
        .into())
    }
}

/// The link that is called `runtime`, beside what `ringfence oci install` puts beside its own.
fn installed(folder: &Folder, runtime: &str) -> Result<PathBuf, Failed> {
    let root = folder.at("host");
    let mut install = Command::new(binary());
    install
        .args(["oci", "install", "podman", "--root"])
        .arg(&root);
    let done = install.output()?;
    if !done.status.success() {
        return Err(format!("{install:?}: {}", String::from_utf8_lossy(&done.stderr)).into());
    }
    let link = root.join("usr/local/bin").join(runtime);
    if !link.is_symlink() {
        symlink(binary(), &link)?;
    }
    Ok(link)
}

/// A script that was just written may still be open for writing in a process that another test's thread has forked and that has not
/// executed yet: it is busy for that moment.
fn unless_busy<T>(mut start: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match start() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

/// Whether controllers are in hierarchies of their own: crun and youki then make no cgroup in that of version 2.
fn is_hybrid() -> bool {
    !Path::new("/sys/fs/cgroup/cgroup.procs").exists()
}

/// What stands for `program`, which is the runtime `bare` or before it, on this host: crun and youki have to see a hierarchy of
/// version 2 alone.
fn callable(folder: &Folder, bare: &str, program: PathBuf) -> Result<PathBuf, Failed> {
    if !["crun", "youki"].contains(&bare) || !is_hybrid() {
        return Ok(program);
    }
    let words = format!(
        "exec unshare -m --propagation private sh -c 'umount -R /sys/fs/cgroup && \
         mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"' sh {} \"$@\"",
        program.display()
    );
    script(folder, "in-one-hierarchy", &words)
}

fn script(folder: &Folder, name: &str, words: &str) -> Result<PathBuf, Failed> {
    let script = folder.at(name);
    fs::write(&script, format!("#!/bin/sh\n{words}\n"))?;
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(script)
}

/// What `runc spec` writes, without what this host may lack.
fn configuration(id: &str, script: &str) -> Value {
    let all = json!([
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_SYS_ADMIN",
        "CAP_SYS_PTRACE"
    ]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh", "-c", script],
            "env": ["PATH=/bin", "HOME=/root"],
            "cwd": "/",
            "capabilities": { "bounding": all, "effective": all, "permitted": all },
            "noNewPrivileges": false
        },
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "box",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] }
        ],
        "linux": {
            "cgroupsPath": format!("/ringfence-test/{id}"),
            "namespaces": [{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "network" }]
        }
    })
}
