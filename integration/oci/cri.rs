//! Kubernetes' way to a container: a pod by containerd's CRI, whose handler is ringfence.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::Failed;

use super::engines::{Containerd, IMAGE, Podman, SCRIPT};
use crate::kit::{Need, Suite, Verdict};

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Landlock,
    Need::Cgroup,
    Need::Processor,
    Need::Program("runc"),
    Need::Program("busybox"),
    Need::Program("podman"),
    Need::Program("containerd"),
    Need::Program("ctr"),
    Need::Program("python3"),
    Need::Program("unshare"),
];

pub(crate) fn register(suite: &mut Suite) {
    suite.test("oci::a_pod_is_fenced_with_all_that_is_in_it", NEEDS, pod);
}

/// Two containers and what holds their namespaces: each in a fence of its own, which `exec` lands in. A pod whose profile is not there is
/// not made. What runs in it has the profile that the host has for its image, and what holds the namespaces has none.
fn pod() -> Verdict {
    let podman = Podman::new()?;
    let runtime = podman.runtime();
    let configuration = format!(
        "[plugins.\"io.containerd.grpc.v1.cri\"]\n\
         sandbox_image = \"{IMAGE}\"\nrestrict_oom_score_adj = true\ndisable_apparmor = true\ndisable_tcp_service = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\nconf_dir = {:?}\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd]\ndefault_runtime_name = \"ringfence\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.ringfence]\nruntime_type = \"io.containerd.runc.v2\"\n\
         pod_annotations = [\"dev.ringfence.*\"]\ncontainer_annotations = [\"dev.ringfence.*\"]\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.ringfence.options]\nBinaryName = {runtime:?}\n",
        podman.at("cni"),
    );
    let host = host(&podman)?;
    let containerd = Containerd::start_under(&podman, &configuration, &host)?;
    let archive = podman.archive()?.to_string_lossy().into_owned();
    containerd.done(&["--namespace", "k8s.io", "image", "import", &archive])?;
    let mut client = Command::new("/usr/bin/python3")
        .args(["-c", include_str!("cri.py")])
        .arg(containerd.socket())
        .args(["ringfence", IMAGE, SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut told = BufReader::new(client.stdout.take().ok_or("no output")?);
    let mut lines = String::new();
    let sandbox = loop {
        let mut line = String::new();
        if told.read_line(&mut line)? == 0 {
            break None;
        }
        match line.strip_prefix("pause ") {
            Some(id) => break Some(id.trim().to_owned()),
            None => lines.push_str(&line),
        }
    };
    let pause = sandbox.map(|id| in_pause(runtime, &id)).transpose();
    if let Some(mut input) = client.stdin.take() {
        input.write_all(b"\n").ok();
    }
    for line in told.lines() {
        lines.push_str(&line?);
        lines.push('\n');
    }
    let ended = client.wait_with_output()?;
    let expected = "refused\nfenced 3\nclosed\nown\nclosed\nown\nleft 0\n";
    let pause = pause?;
    if lines != expected || pause.as_deref() != Some("kept\nclosed\n") {
        let complaint = String::from_utf8_lossy(&ended.stderr).into_owned();
        let log = containerd.log();
        return Err(format!("{lines}in the pause: {pause:?}\n{complaint}\n{log}").into());
    }
    Ok(())
}

/// The configuration of a host that keeps what is in this image from reading one file.
fn host(podman: &Podman) -> Result<PathBuf, Failed> {
    let host = podman.at("host");
    fs::create_dir_all(host.join("profiles"))?;
    let pattern =
        "[[containers.image]]\nname = \"localhost/ringfence-*:*\"\nprofile = \"narrow\"\n";
    fs::write(host.join("config.toml"), pattern)?;
    let profile = "version = 1\nextends = [\"untrusted\"]\n[files]\nread = [\"/bin/**\"]\nexec = [\"/bin/**\"]\ndeny = [\"/data/kept\"]\n";
    fs::write(host.join("profiles/narrow.toml"), profile)?;
    Ok(host)
}

fn in_pause(runtime: &Path, id: &str) -> Result<String, Failed> {
    let output = Command::new(runtime)
        .args([
            "--root",
            "/run/containerd/runc/k8s.io",
            "exec",
            id,
            // Engines give what holds the namespaces no PATH but its image's.
            "/bin/sh",
            "-c",
            SCRIPT,
        ])
        .stdin(Stdio::null())
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
