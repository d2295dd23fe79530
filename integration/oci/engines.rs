//! podman and containerd, each with storage of its own that is gone afterwards, and an image without a registry.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::json;

use super::FENCED;
use super::bundle::Bundle;
use crate::kit::{Need, Ringfence, Suite, Verdict, binary};

/// What every engine is asked to run: one act that is allowed, and two that are not.
pub(super) const SCRIPT: &str =
    "cat /data/kept; echo x > /data/made; mount -t tmpfs x /data || echo closed";
pub(super) const IMAGE: &str = "localhost/ringfence-test:1";

const HOOKED_PODMAN: &[Need] = &[
    Need::Root,
    Need::BpfLsm,
    Need::Program("runc"),
    Need::Program("busybox"),
    Need::Program("podman"),
    Need::Program("conmon"),
];
const PODMAN: &[Need] = &[
    Need::Root,
    Need::Landlock,
    Need::Cgroup,
    Need::Program("runc"),
    Need::Program("busybox"),
    Need::Program("podman"),
    Need::Program("conmon"),
];
const CONTAINERD: &[Need] = &[
    Need::Root,
    Need::Landlock,
    Need::Cgroup,
    Need::Program("runc"),
    Need::Program("busybox"),
    Need::Program("podman"),
    Need::Program("containerd"),
    Need::Program("ctr"),
];

pub(crate) fn register(suite: &mut Suite) {
    suite.test("oci::podman_runs_behind_the_fence", PODMAN, podman);
    suite.test(
        "oci::a_hook_refuses_what_the_bundle_leaves_open",
        HOOKED_PODMAN,
        hooks_folder,
    );
    suite.test(
        "oci::containerd_runs_behind_the_fence",
        CONTAINERD,
        containerd,
    );
    suite.test("oci::a_bundle_runs_without_an_engine", FENCED, no_engine);
}

/// podman with storage in a test's folder.
pub(super) struct Podman {
    bundle: Bundle,
}

impl Podman {
    /// With the image in it.
    pub(super) fn new() -> Result<Self, Failed> {
        let bundle = Bundle::of("ringfence-runc", "true")?;
        let podman = Self { bundle };
        // Its own defaults are above what some hosts have.
        fs::write(
            podman.at("containers.conf"),
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n",
        )?;
        let layer = podman.at("layer.tar");
        let packed = Command::new("tar")
            .arg("-C")
            .arg(podman.at("rootfs"))
            .arg("-cf")
            .args([&layer, &PathBuf::from(".")])
            .status()?;
        if !packed.success() {
            return Err("tar could not pack the image".into());
        }
        let sleep = "CMD [\"/bin/sleep\", \"900\"]";
        podman.succeeds(&[
            "import".into(),
            "-c".into(),
            sleep.into(),
            layer.into(),
            IMAGE.into(),
        ])?;
        Ok(podman)
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.bundle.path().join(name)
    }

    /// The runtime that stands before runc.
    pub(super) fn runtime(&self) -> &Path {
        self.bundle.runtime()
    }

    /// The image in a file.
    pub(super) fn archive(&self) -> Result<PathBuf, Failed> {
        let archive = self.at("image.tar");
        self.succeeds(&[
            "save".into(),
            "-o".into(),
            archive.clone().into(),
            IMAGE.into(),
        ])?;
        Ok(archive)
    }

    fn call(&self, words: &[OsString]) -> Result<(Option<i32>, String, String), Failed> {
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", self.at("containers.conf"));
        for option in ["root", "runroot", "tmpdir"] {
            command
                .arg(format!("--{option}"))
                .arg(self.at(&format!("podman-{option}")));
        }
        command
            .args([
                "--cgroup-manager",
                "cgroupfs",
                "--events-backend",
                "file",
                "--runtime",
            ])
            .arg(self.runtime())
            .args(words)
            .stdin(Stdio::null());
        let output = command.output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        ))
    }

    fn succeeds(&self, words: &[OsString]) -> Result<String, Failed> {
        let (code, out, err) = self.call(words)?;
        if code != Some(0) {
            return Err(format!("podman {words:?}: {code:?}\n{out}\n{err}").into());
        }
        Ok(out)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Its storage is mounted until then.
        self.call(&words(&["rm", "--all", "--force"])).ok();
        self.call(&words(&["rmi", "--all", "--force"])).ok();
        Command::new("umount")
            .arg("-R")
            .arg(self.at("podman-root/overlay"))
            .stderr(Stdio::null())
            .status()
            .ok();
    }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn podman() -> Verdict {
    let podman = Podman::new()?;
    let run = [
        "run",
        "--rm",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        SCRIPT,
    ];
    let (_, out, err) = podman.call(&words(&run))?;
    is(&out, "kept\nclosed\n", &err)?;
    let detached = [
        "run",
        "-d",
        "--name",
        "c",
        "--network",
        "none",
        IMAGE,
        "sleep",
        "60",
    ];
    podman.succeeds(&words(&detached))?;
    let (_, out, err) = podman.call(&words(&["exec", "c", "sh", "-c", SCRIPT]))?;
    is(&out, "kept\nclosed\n", &err)?;
    podman.succeeds(&words(&["kill", "c"]))?;
    podman.succeeds(&words(&["rm", "--force", "c"]))?;
    let annotated = [
        "run",
        "--rm",
        "--network",
        "none",
        "--annotation",
        "dev.ringfence.profile=none-such",
    ];
    let (code, out, err) = podman.call(&words(&[&annotated[..], &[IMAGE, "true"]].concat()))?;
    if code == Some(0) || !err.contains("none-such") {
        return Err(format!("a profile that is not there: {code:?}\n{out}\n{err}").into());
    }
    Ok(())
}

/// By a folder of hooks nothing can be taken from the bundle, and podman's own filter leaves more open than a fence does.
fn hooks_folder() -> Verdict {
    let podman = Podman::new()?;
    let folder = podman.at("hooks");
    fs::create_dir(&folder)?;
    let hook = json!({
        "version": "1.0.0",
        "hook": { "path": binary(), "args": ["ringfence", "oci", "hook"] },
        "when": { "always": true },
        "stages": ["createRuntime", "poststop"]
    });
    fs::write(folder.join("ringfence.json"), serde_json::to_vec(&hook)?)?;
    let folder = folder.to_string_lossy().into_owned();
    let run = [
        "--runtime",
        "runc",
        "--hooks-dir",
        &folder,
        "run",
        "--rm",
        "--network",
        "none",
        IMAGE,
        "echo",
        "started",
    ];
    let (code, out, err) = podman.call(&words(&run))?;
    if code == Some(0) || !out.is_empty() || !err.contains("syscalls would be weaker") {
        return Err(format!("{code:?}\n{out}\n{err}").into());
    }
    Ok(())
}

/// containerd with state in a test's folder. It ends with its handle.
pub(super) struct Containerd {
    daemon: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.daemon.kill().ok();
        self.daemon.wait().ok();
    }
}

impl Containerd {
    /// With `beside` in its configuration.
    pub(super) fn start(podman: &Podman, beside: &str) -> Result<Self, Failed> {
        Self::begin(podman, beside, Command::new("containerd"))
    }

    /// The same on a host whose configuration of ringfence is what lies in `host`, which nobody else sees.
    pub(super) fn start_under(podman: &Podman, beside: &str, host: &Path) -> Result<Self, Failed> {
        // What a run mounts when there is nothing in the kernel yet would be nobody else's.
        Ringfence::with(["load"]).run()?.succeeds()?;
        let script =
            "mkdir -p /etc/ringfence; mount --bind \"$0\" /etc/ringfence; exec containerd \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", script]);
        command.arg(host);
        Self::begin(podman, beside, command)
    }

    fn begin(podman: &Podman, beside: &str, mut command: Command) -> Result<Self, Failed> {
        let socket = podman.at("containerd.sock");
        let configuration = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n{beside}\n[grpc]\naddress = {socket:?}\n",
            podman.at("containerd-root"),
            podman.at("containerd-state"),
        );
        let file = podman.at("containerd.toml");
        fs::write(&file, configuration)?;
        let log = podman.at("containerd.log");
        let written = fs::File::create(&log)?;
        let daemon = command
            .arg("--config")
            .arg(&file)
            .stdout(written.try_clone()?)
            .stderr(written)
            .spawn()?;
        let containerd = Self {
            daemon,
            socket,
            log,
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !containerd.socket.exists() {
            if Instant::now() > deadline {
                return Err(format!("no socket: {}", containerd.log()).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(containerd)
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its client: exit code, output and complaint.
    fn ctr(&self, given: &[&str]) -> Result<(Option<i32>, String, String), Failed> {
        let output = Command::new("ctr")
            .arg("--address")
            .arg(&self.socket)
            .args(given)
            .stdin(Stdio::null())
            .output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        ))
    }

    /// Its client, which succeeds.
    pub(super) fn done(&self, given: &[&str]) -> Result<String, Failed> {
        match self.ctr(given)? {
            (Some(0), out, _) => Ok(out),
            other => Err(format!("ctr {given:?}: {other:?}").into()),
        }
    }
}

fn containerd() -> Verdict {
    let podman = Podman::new()?;
    let archive = podman.archive()?;
    let without = "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]";
    let containerd = Containerd::start(&podman, without)?;
    let ctr = |given: &[&str]| containerd.ctr(given);
    let done = |given: &[&str]| containerd.done(given);
    let link = podman.runtime().to_string_lossy().into_owned();
    let archive = archive.to_string_lossy().into_owned();
    done(&["image", "import", &archive])?;
    let run = [
        "run",
        "--rm",
        "--runc-binary",
        &link,
        IMAGE,
        "c1",
        "sh",
        "-c",
        SCRIPT,
    ];
    let (_, out, err) = ctr(&run)?;
    is(&out, "kept\nclosed\n", &err)?;
    done(&[
        "run",
        "-d",
        "--runc-binary",
        &link,
        IMAGE,
        "c2",
        "sleep",
        "60",
    ])?;
    let (_, out, err) = ctr(&["task", "exec", "--exec-id", "e", "c2", "sh", "-c", SCRIPT])?;
    is(&out, "kept\nclosed\n", &err)?;
    done(&["task", "kill", "--signal", "9", "c2"])?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while ctr(&["task", "delete", "c2"])?.0 != Some(0) {
        if Instant::now() > deadline {
            return Err("the task cannot be deleted".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    done(&["container", "delete", "c2"])?;
    let annotated = [
        "run",
        "--rm",
        "--runc-binary",
        &link,
        "--annotation",
        "dev.ringfence.profile=none-such",
    ];
    let (code, _, err) = ctr(&[&annotated[..], &[IMAGE, "c3", "true"]].concat())?;
    // containerd shows what the runtime has written to its log.
    if code == Some(0) || !err.contains("none-such") {
        return Err(format!("a profile that is not there: {code:?}\n{err}").into());
    }
    Ok(())
}

fn no_engine() -> Verdict {
    let bundle = Bundle::of("ringfence-runc", SCRIPT)?;
    let plain = bundle.path().join("plain");
    symlink(binary(), &plain)?;
    let output = Command::new(&plain)
        .args(["oci", "run", "--runtime", "runc", "--id", bundle.id()])
        .arg(bundle.path())
        .stdin(Stdio::null())
        .output()?;
    is(
        &String::from_utf8_lossy(&output.stdout),
        "kept\nclosed\n",
        &String::from_utf8_lossy(&output.stderr),
    )
}

fn is(found: &str, expected: &str, beside: &str) -> Verdict {
    if found != expected {
        return Err(format!("{found:?}, not {expected:?}\n{beside}").into());
    }
    Ok(())
}
