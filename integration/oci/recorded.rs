//! Containers of others', recorded while they run, and images that are run to be recorded.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::bundle::Bundle;
use super::names::HostProfile;
use crate::kit::{Need, Ringfence, Suite, Verdict};

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Landlock,
    Need::Cgroup,
    // A recording takes half a minute to begin where it is emulated.
    Need::Processor,
    Need::Program("runc"),
    Need::Program("busybox"),
];
const PODMAN: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Processor,
    Need::Program("runc"),
    Need::Program("busybox"),
    Need::Program("podman"),
    Need::Program("conmon"),
];
const IMAGE: &str = "localhost/ringfence-test:1";

pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "oci::recorded::a_container_that_runs_is_recorded_and_goes_on",
        NEEDS,
        goes_on,
    );
    suite.test(
        "oci::recorded::a_container_that_is_created_is_recorded_from_its_first_program_on",
        NEEDS,
        created,
    );
    suite.test(
        "oci::recorded::what_a_runtime_does_before_it_executes_an_added_command_is_not_the_commands",
        NEEDS,
        prepared,
    );
    suite.test(
        "oci::recorded::who_is_not_there_or_behind_a_fence_is_not_recorded",
        NEEDS,
        refused,
    );
    suite.test(
        "oci::recorded::a_container_of_podmans_is_found_by_its_name",
        PODMAN,
        by_name,
    );
    suite.test(
        "oci::recorded::an_image_is_run_recorded_and_removed",
        PODMAN,
        image,
    );
    suite.test(
        "oci::recorded::a_recording_of_an_image_ends_when_asked",
        PODMAN,
        asked,
    );
}

/// Waits for `/data/go`, acts, and waits for `/data/stop`.
const SCRIPT: &str = "touch /tmp/before; until [ -e /data/go ]; do sleep 0.1; done; cat /data/kept; \
    (touch /tmp/below); touch /data/done; until [ -e /data/stop ]; do sleep 0.1; done";

fn until(what: &str, mut holds: impl FnMut() -> bool) -> Verdict {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        if Instant::now() > deadline {
            return Err(format!("{what} does not come").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// `ringfence learn WORDS`, when it says `begun`.
struct Recording(Child);

impl Recording {
    fn of(learn: &Ringfence, begun: &str) -> Result<Self, Failed> {
        let mut child = learn
            .command()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no standard error")?).lines();
        let mut told = String::new();
        while !told.contains(begun) {
            match lines.next() {
                Some(line) => told.push_str(&line?),
                None => {
                    child.wait()?;
                    return Err(format!("it does not record: {told}").into());
                }
            }
        }
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self(child))
    }

    fn interrupt(&self) -> Verdict {
        Ok(kill(
            Pid::from_raw(i32::try_from(self.0.id())?),
            Signal::SIGINT,
        )?)
    }

    fn ends_with(mut self, code: i32) -> Verdict {
        match self.0.wait()?.code() {
            found if found == Some(code) => Ok(()),
            found => Err(format!("the recording ended with {found:?}, not {code}").into()),
        }
    }
}

/// The profile goes to `output`, the trace beside it.
fn learn(container: &str, output: &Path) -> Ringfence {
    Ringfence::with(["learn", "--container", container, "-o"]).and([
        output.to_owned(),
        "--trace".into(),
        trace(output),
    ])
}

fn trace(output: &Path) -> PathBuf {
    output.with_extension("trace")
}

/// In the trace beside the profile are paths that begin with each of `there`, and none that begins with one of `absent`.
fn holds(profile: &Path, there: &[&str], absent: &[&str]) -> Verdict {
    let text = fs::read_to_string(trace(profile))?;
    let names = |path: &str| text.contains(&format!("\"path\":\"{path}"));
    for one in there {
        if !names(one) {
            return Err(format!("no {one} in {text}").into());
        }
    }
    for one in absent {
        if names(one) {
            return Err(format!("{one} is in {text}").into());
        }
    }
    Ok(())
}

fn goes_on() -> Verdict {
    let bundle = Bundle::of("runc", SCRIPT)?;
    let other = Bundle::of("runc", &SCRIPT.replace("below", "beside"))?;
    for one in [&bundle, &other] {
        fs::write(one.at("data/another"), "another\n")?;
        one.create()?.says("")?;
        one.call(&["start", "@"])?.says("")?;
        until("the container's start", || one.at("tmp/before").exists())?;
    }
    let file = bundle.path().join("learned.toml");
    let recording = Recording::of(&learn(bundle.id(), &file), "is recorded until")?;
    let again = learn(bundle.id(), &file).run()?;
    again.exits_with(125)?;
    fs::write(bundle.at("data/go"), "")?;
    fs::write(other.at("data/go"), "")?;
    until("what it does", || bundle.at("data/done").exists())?;
    until("what the other does", || other.at("data/done").exists())?;
    bundle
        .call(&["exec", "@", "cat", "/data/another"])?
        .says("another\n")?;
    recording.interrupt()?;
    recording.ends_with(0)?;
    let host = bundle.path().display().to_string();
    holds(
        &file,
        &["/data/kept", "/tmp/below", "/data/done", "/data/another"],
        &["/tmp/before", "/tmp/beside", &host, "/data/stop"],
    )?;
    bundle
        .call(&["state", "@"])?
        .claim_out(|out| out.contains("running"))?;
    for one in [&bundle, &other] {
        fs::write(one.at("data/stop"), "")?;
    }
    Ok(())
}

fn prepared() -> Verdict {
    let bundle = Bundle::of("runc", SCRIPT)?;
    bundle.create()?.says("")?;
    bundle.call(&["start", "@"])?.says("")?;
    until("the container's start", || bundle.at("tmp/before").exists())?;
    let file = bundle.path().join("learned.toml");
    let recording = Recording::of(&learn(bundle.id(), &file), "is recorded until")?;
    let added = ["exec", "@", "sh", "-c", "cat /data/kept; (cat /data/kept)"];
    bundle.call(&added)?.says("kept\nkept\n")?;
    recording.interrupt()?;
    recording.ends_with(0)?;
    fs::write(bundle.at("data/go"), "")?;
    fs::write(bundle.at("data/stop"), "")?;
    // The runtime gives capabilities away, and looks at its own descriptors.
    holds(&file, &["/data/kept", "/bin/busybox"], &[])?;
    let text = fs::read_to_string(trace(&file))?;
    let runtimes = ["\"capset\"", "\"setgroups\"", "/fd\""];
    match runtimes.into_iter().find(|act| text.contains(act)) {
        None => Ok(()),
        Some(act) => Err(format!("{act} is in {text}").into()),
    }
}

fn created() -> Verdict {
    let script = "cat /data/kept; echo x > /tmp/made; cat /tmp/made";
    let bundle = Bundle::of("runc", script)?;
    bundle.create()?.says("")?;
    let file = bundle.path().join("learned.toml");
    let recording = Recording::of(&learn(bundle.id(), &file), "is recorded until")?;
    bundle.call(&["start", "@"])?.says("")?;
    recording.ends_with(0)?;
    let profile = HostProfile::of(&fs::read_to_string(&file)?)?;
    let again = Bundle::of("ringfence-runc", script)?.named(&profile.name)?;
    again.call(&["run", "@"])?.says("kept\nx\n")?;
    let more = "cat /data/kept; echo x > /data/other || echo unwritten";
    let more = Bundle::of("ringfence-runc", more)?.named(&profile.name)?;
    more.call(&["run", "@"])?.says("kept\nunwritten\n")
}

fn refused() -> Verdict {
    let complains = |container: &str, text: &str| -> Verdict {
        let refused = Ringfence::with(["learn", "--container", container]).run()?;
        refused.exits_with(125)?;
        match refused.err().contains(text) {
            true => Ok(()),
            false => Err(format!("no {text:?} in {}", refused.err()).into()),
        }
    };
    complains("no-such-container", "--runtime-root")?;
    let fenced = Bundle::of("ringfence-runc", "true")?;
    fenced.create()?.says("")?;
    complains(fenced.id(), "behind a fence")?;
    let ended = Bundle::of("runc", "true")?;
    ended.create()?.says("")?;
    ended.call(&["start", "@"])?.says("")?;
    until("its end", || {
        ended
            .call(&["state", "@"])
            .is_ok_and(|state| state.out().contains("stopped"))
    })?;
    complains(ended.id(), "stopped")
}

/// podman with storage in a test's folder, by the name that ringfence calls.
struct Podman {
    bundle: Bundle,
}

impl Podman {
    fn new() -> Result<Self, Failed> {
        let bundle = Bundle::of("runc", "true")?;
        let path = bundle.path().to_owned();
        let at = |name: &str| path.join(name).display().to_string();
        fs::create_dir(at("programs"))?;
        fs::write(
            at("containers.conf"),
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n",
        )?;
        let script = format!(
            "#!/bin/sh\nexport CONTAINERS_CONF={}\nPATH=${{PATH#*:}}\nexec podman --root {} --runroot {} --tmpdir {} \
             --cgroup-manager cgroupfs --events-backend file --runtime runc \"$@\"\n",
            at("containers.conf"),
            at("podman-root"),
            at("podman-runroot"),
            at("podman-tmpdir"),
        );
        fs::write(at("programs/podman"), script)?;
        fs::set_permissions(
            at("programs/podman"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?;
        let podman = Self { bundle };
        let packed = Command::new("tar")
            .args(["-C", &at("rootfs"), "-cf", &at("layer.tar"), "."])
            .status()?;
        if !packed.success() {
            return Err("tar could not pack the image".into());
        }
        podman.call(&["import", &at("layer.tar"), IMAGE])?;
        Ok(podman)
    }

    fn path(&self) -> String {
        let programs = self.bundle.path().join("programs");
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}:{path}", programs.display())
    }

    fn call(&self, words: &[&str]) -> Result<String, Failed> {
        let output = Command::new(self.bundle.path().join("programs/podman"))
            .env("PATH", self.path())
            .args(words)
            .stdin(Stdio::null())
            .output()?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => {
                let err = String::from_utf8_lossy(&output.stderr);
                Err(format!("podman {words:?}: {}\n{err}", output.status).into())
            }
        }
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Its storage is mounted until then.
        self.call(&["rm", "--all", "--force"]).ok();
        self.call(&["rmi", "--all", "--force"]).ok();
        Command::new("umount")
            .arg("-R")
            .arg(self.bundle.path().join("podman-root/overlay"))
            .stderr(Stdio::null())
            .status()
            .ok();
    }
}

fn by_name() -> Verdict {
    let podman = Podman::new()?;
    let name = format!("rf-named-{}", std::process::id());
    podman.call(&[
        "run",
        "-d",
        "--name",
        &name,
        "--network",
        "none",
        IMAGE,
        "sleep",
        "600",
    ])?;
    let file = podman.bundle.path().join("learned.toml");
    let learn = learn(&name, &file).variable("PATH", podman.path());
    let recording = Recording::of(&learn, "is recorded until")?;
    podman.call(&["exec", &name, "sh", "-c", "cat /data/kept; touch /tmp/made"])?;
    recording.interrupt()?;
    recording.ends_with(0)?;
    holds(
        &file,
        &["/data/kept", "/tmp/made"],
        &[&podman.bundle.path().display().to_string()],
    )?;
    let state = podman.call(&["inspect", "--format", "{{.State.Status}}", &name])?;
    match state.trim() {
        "running" => Ok(()),
        other => Err(format!("it is {other}").into()),
    }
}

fn image() -> Verdict {
    let podman = Podman::new()?;
    let file = podman.bundle.path().join("learned.toml");
    let run = [
        "learn",
        "--image",
        IMAGE,
        "--engine-arg=--network=none",
        "-o",
    ];
    let script = "cat /data/kept; echo x > /tmp/made; exit 7";
    let learned = Ringfence::with(run)
        .and([file.clone(), "--trace".into(), trace(&file)])
        .and(["--", "sh", "-c", script])
        .variable("PATH", podman.path())
        .run()?;
    learned.exits_with(7)?;
    if learned.out() != "kept\n" {
        return Err(format!("it said {:?}", learned.out()).into());
    }
    holds(
        &file,
        &["/data/kept", "/tmp/made"],
        &[&podman.bundle.path().display().to_string()],
    )?;
    match podman.call(&["ps", "--all", "--quiet"])?.is_empty() {
        true => {}
        false => return Err("the container is still there".into()),
    }
    let profile = HostProfile::of(&fs::read_to_string(&file)?)?;
    let again = Bundle::of("ringfence-runc", script)?.named(&profile.name)?;
    let ended = again.call(&["run", "@"])?;
    ended.claim(
        ended.code() == Some(7) && ended.out() == "kept\n",
        "the same again",
    )?;
    let none = Ringfence::with([
        "learn",
        "--image",
        "localhost/no-such:1",
        "--engine-arg=--pull=never",
    ])
    .and(["--", "true"])
    .variable("PATH", podman.path())
    .run()?;
    none.exits_with(125)?;
    Ok(())
}

fn asked() -> Verdict {
    let podman = Podman::new()?;
    let at = |name: &str| podman.bundle.path().join(name);
    let file = at("learned.toml");
    fs::create_dir(at("shared"))?;
    let script =
        "trap 'touch /tmp/told; exit 0' TERM; touch /shared/up; while true; do sleep 0.1; done";
    let learn = Ringfence::with(["learn", "--image", IMAGE, "--engine-arg=--network=none"])
        .and([format!(
            "--engine-arg=--volume={}:/shared",
            at("shared").display()
        )])
        .and(["-o".into(), file.clone(), "--trace".into(), trace(&file)])
        .and(["--", "sh", "-c", script])
        .variable("PATH", podman.path());
    let recording = Recording::of(&learn, "runs without a fence")?;
    until("the container's start", || at("shared/up").exists())?;
    recording.interrupt()?;
    recording.ends_with(0)?;
    holds(&file, &["/shared/up", "/tmp/told"], &[])?;
    match podman.call(&["ps", "--all", "--quiet"])?.is_empty() {
        true => Ok(()),
        false => Err("the container is still there".into()),
    }
}
