//! runc and crun, called as engines call them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::bundle::Bundle;
use super::names::HostProfile;
use super::{FENCED, HOOKED};
use crate::kit::{Suite, Verdict, on_path};

const BEHIND: [&str; 2] = ["ringfence-runc", "ringfence-crun"];
/// Waits until it is killed.
pub(super) const FOREVER: &str = "while :; do sleep 1; done";

/// What stands before runtimes: before youki, which Debian does not have, where somebody has built it.
pub(super) fn behind() -> impl Iterator<Item = &'static str> {
    let youki = on_path("youki").then_some("ringfence-youki");
    BEHIND.into_iter().chain(youki)
}

pub(crate) fn register(suite: &mut Suite) {
    for (name, needs, body) in [
        (
            "oci::what_the_profile_does_not_allow_is_denied",
            FENCED,
            denied as fn(&str) -> Verdict,
        ),
        ("oci::what_exec_adds_is_fenced", FENCED, exec_is_fenced),
        (
            "oci::a_leaked_descriptor_leads_nowhere",
            HOOKED,
            leaked_descriptor,
        ),
        ("oci::tasks_outside_are_out_of_reach", HOOKED, tasks_outside),
        (
            "oci::the_working_directory_is_that_of_the_rules",
            FENCED,
            working_directory,
        ),
        ("oci::nothing_is_left_behind", FENCED, nothing_is_left),
        (
            "oci::a_killed_monitor_leaves_the_fence_standing",
            HOOKED,
            killed_monitor,
        ),
    ] {
        for runtime in behind() {
            let named = format!("{name}[{runtime}]");
            suite.test(named, needs, move || body(runtime));
        }
    }
    for (name, needs, body) in [
        (
            "oci::exec_below_the_containers_cgroup_is_fenced",
            HOOKED,
            exec_below as fn() -> Verdict,
        ),
        (
            "oci::a_container_without_a_cgroup_of_its_own_does_not_start",
            HOOKED,
            shared_cgroup,
        ),
        (
            "oci::a_profile_that_is_not_there_keeps_the_container_from_starting",
            FENCED,
            missing_profile,
        ),
        ("oci::the_answers_are_the_runtimes", FENCED, answers),
        (
            "oci::a_life_from_create_to_delete_is_the_runtimes",
            FENCED,
            life,
        ),
        (
            "oci::twenty_at_once_leave_nothing_behind",
            FENCED,
            twenty_at_once,
        ),
    ] {
        suite.test(name, needs, body);
    }
}

/// Each act by itself, with the same container unfenced as the control.
fn denied(runtime: &str) -> Verdict {
    let script = "echo x > /data/made || echo unwritten; cp /bin/busybox /tmp/sh; /tmp/sh -c true || echo unexecuted; \
                  unshare -U true || echo unshared; cat /data/kept; mount -t tmpfs x /data || echo unmounted; \
                  echo fine > /tmp/made; cat /tmp/made";
    let fenced = Bundle::of(runtime, script)?.call(&["run", "@"])?;
    fenced.says("unwritten\nunexecuted\nunshared\nkept\nunmounted\nfine\n")?;
    let bare = runtime.trim_start_matches("ringfence-");
    let unfenced = Bundle::of(bare, script)?.call(&["run", "@"])?;
    unfenced.says("kept\nfine\n")
}

/// A runtime enters it before mounts are laid: it must be what lies on top of them, whether that opens more than the root or less.
fn working_directory(runtime: &str) -> Verdict {
    for (rules, says) in [
        ("write = [\"/data/**\"]", "x\n"),
        ("write = [\"/**\"]\ndeny = [\"/data/**\"]", "unwritten\n"),
    ] {
        let profile = HostProfile::of(&format!(
            "version = 1\nextends = [\"untrusted\"]\n[files]\n{rules}\n"
        ))?;
        let bundle = Bundle::of(runtime, "echo x >made && cat made || echo unwritten")?
            .with(|value| value["process"]["cwd"] = json!("/data"))?;
        bundle
            .named(&profile.name)?
            .call(&["run", "@"])?
            .says(says)?;
    }
    Ok(())
}

/// A directory of the host's that was left open (CVE-2024-21626).
fn leaked_descriptor(runtime: &str) -> Verdict {
    let script =
        "cat /proc/self/fd/3/rootfs/data/kept; cat /proc/self/fd/3/config.json >/tmp/c; echo $?";
    let run = |runtime: &str| {
        let bundle = Bundle::of(runtime, script)?;
        bundle.by_shell("exec 3<. && exec \"$0\" run --preserve-fds 1 \"$1\"")
    };
    run(runtime)?.says("1\n")?;
    run(runtime.trim_start_matches("ringfence-"))?.says("kept\n0\n")
}

/// In the host's own process namespace.
fn tasks_outside(runtime: &str) -> Verdict {
    let script = "kill -0 1; echo $?; cat /proc/1/cmdline >/tmp/c; echo $?";
    let run = |runtime: &str| {
        let bundle = Bundle::of(runtime, script)?.with(|value| {
            if let Some(list) = value["linux"]["namespaces"].as_array_mut() {
                list.retain(|one| one["type"] != "pid");
            }
        })?;
        bundle.call(&["run", "@"])
    };
    run(runtime)?.says("1\n1\n")?;
    run(runtime.trim_start_matches("ringfence-"))?.says("0\n0\n")
}

fn exec_is_fenced(runtime: &str) -> Verdict {
    let bundle = Bundle::of(runtime, FOREVER)?;
    started(&bundle)?;
    let script = "cat /data/kept; echo x > /data/made";
    let added = bundle.call(&["exec", "@", "sh", "-c", script])?;
    added.claim(
        added.out() == "kept\n" && is_denied(&added.err()),
        "an exec that may not write",
    )?;
    let file = bundle.path().join("process.json");
    let mut process = bundle.configuration()?["process"].clone();
    process["args"] = json!(["sh", "-c", "cat /proc/self/status; echo x > /data/made"]);
    process["capabilities"]["bounding"] = json!(["CAP_SYS_ADMIN"]);
    process["noNewPrivileges"] = json!(false);
    fs::write(&file, serde_json::to_vec(&process)?)?;
    let file = file.to_string_lossy().into_owned();
    let added = bundle.call(&["exec", "--process", &file, "@"])?;
    let holds = ["NoNewPrivs:\t1", "CapBnd:\t0000000000000000"]
        .iter()
        .all(|line| added.out().contains(line));
    added.claim(
        holds && is_denied(&added.err()),
        "a described exec that has nothing more than the container",
    )?;
    ended(&bundle)?;
    absent(&bundle.at("data/made"))
}

/// A hook denies with the one, a mount with the other.
fn is_denied(complaint: &str) -> bool {
    complaint.contains("Permission denied") || complaint.contains("Read-only file system")
}

/// runc puts a process into a cgroup below the container's if it is told to.
fn exec_below() -> Verdict {
    let bundle = Bundle::of("ringfence-runc", FOREVER)?;
    started(&bundle)?;
    fs::create_dir(bundle.cgroup()?.join("below"))?;
    let script = "cat /proc/self/cgroup; echo x > /data/made";
    let added = bundle.call(&["exec", "--cgroup", "/below", "@", "sh", "-c", script])?;
    added.claim(
        added.out().contains("/below") && added.err().contains("Permission denied"),
        "an exec below that may not write",
    )?;
    ended(&bundle)?;
    absent(&bundle.at("data/made"))
}

fn nothing_is_left(runtime: &str) -> Verdict {
    for _ in 0..2 {
        let bundle = Bundle::of(runtime, "true")?;
        bundle.call(&["run", "@"])?.says("")?;
        let bundle = Bundle::of(runtime, FOREVER)?;
        started(&bundle)?;
        ended(&bundle)?;
        // Deleted without having been started.
        let bundle = Bundle::of(runtime, FOREVER)?;
        created(&bundle)?;
        bundle.call(&["delete", "--force", "@"])?.says("")?;
        absent(&bundle.cgroup()?)?;
        nothing_names(&bundle)?;
    }
    Ok(())
}

/// What the specification asks of a runtime (runtime.md, "Lifecycle" and "Operations"): at each step the same code and state.
fn life() -> Verdict {
    let steps = |runtime: &str| -> Result<Vec<String>, Failed> {
        let bundle = Bundle::of(runtime, FOREVER)?;
        let mut seen = Vec::new();
        let mut note = |ended: &super::bundle::Ended| {
            let state: serde_json::Value = serde_json::from_str(&ended.out()).unwrap_or_default();
            seen.push(format!("{:?} {}", ended.code(), state["status"]));
        };
        // Before it is there; twice; started twice; deleted while it runs; killed when it has ended; twice deleted.
        for words in [
            &["state", "@"][..],
            &["start", "@"],
            &["kill", "@", "KILL"],
            &["delete", "@"],
        ] {
            note(&bundle.call(words)?);
        }
        note(&bundle.create()?);
        note(&bundle.create()?);
        for words in [
            &["state", "@"][..],
            &["start", "@"],
            &["state", "@"],
            &["start", "@"],
            &["delete", "@"],
            &["pause", "@"],
            &["state", "@"],
            &["resume", "@"],
            &["kill", "@", "KILL"],
        ] {
            note(&bundle.call(words)?);
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let state = bundle.call(&["state", "@"])?;
            if state.out().contains("stopped") {
                note(&state);
                break;
            }
            if Instant::now() > deadline {
                return Err("the container does not stop".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        for words in [
            &["kill", "@", "KILL"][..],
            &["delete", "@"],
            &["delete", "@"],
            &["state", "@"],
        ] {
            note(&bundle.call(words)?);
        }
        Ok(seen)
    };
    let (bare, fenced) = (steps("runc")?, steps("ringfence-runc")?);
    if bare != fenced {
        return Err(format!("bare   {bare:#?}\nfenced {fenced:#?}").into());
    }
    Ok(())
}

/// Each is fenced, and tells so; some of them end by themselves, the others are killed.
fn twenty_at_once() -> Verdict {
    let bundles: Vec<Bundle> = (0..20)
        .map(|number| {
            let script = match number % 2 {
                0 => "echo x > /data/made || echo unwritten",
                _ => FOREVER,
            };
            Bundle::of(BEHIND[0], script)
        })
        .collect::<Result<_, _>>()?;
    std::thread::scope(|scope| {
        let running: Vec<_> = bundles
            .iter()
            .enumerate()
            .map(|(number, bundle)| {
                scope.spawn(move || match number % 2 {
                    0 => bundle.call(&["run", "@"])?.says("unwritten\n"),
                    _ => {
                        started(bundle)?;
                        let added =
                            bundle.call(&["exec", "@", "sh", "-c", "echo x > /data/made"])?;
                        added.claim(is_denied(&added.err()), "an exec that may not write")?;
                        ended(bundle)
                    }
                })
            })
            .collect();
        for one in running {
            one.join().map_err(|_| "a container's thread panicked")??;
        }
        Ok::<_, Failed>(())
    })?;
    for bundle in &bundles {
        absent(&bundle.cgroup()?)?;
        nothing_names(bundle)?;
    }
    Ok(())
}

/// Between create and start nothing of the container is fenced yet, and nobody may take the fence for one that was left.
fn killed_monitor(runtime: &str) -> Verdict {
    let bundle = Bundle::of(runtime, "echo x > /data/made; sleep 60")?;
    created(&bundle)?;
    let monitor = monitor_of(&bundle)?.ok_or("there is no monitor")?;
    kill(Pid::from_raw(monitor), Signal::SIGKILL)?;
    // Another one collects what was left.
    Bundle::of(runtime, "true")?.call(&["run", "@"])?.says("")?;
    bundle.call(&["start", "@"])?.says("")?;
    let added = bundle.call(&["exec", "@", "sh", "-c", "echo x > /data/made"])?;
    added.claim(
        added.err().contains("Permission denied"),
        "an exec that may not write",
    )?;
    bundle.call(&["delete", "--force", "@"])?;
    absent(&bundle.at("data/made"))?;
    Bundle::of(runtime, "true")?.call(&["run", "@"])?.says("")?;
    nothing_names(&bundle)
}

/// A fence by that cgroup would hold everything else in it, too.
fn shared_cgroup() -> Verdict {
    let cgroup = Path::new("/sys/fs/cgroup/ringfence-test-shared");
    fs::create_dir(cgroup)?;
    let mut other = Command::new("sleep").arg("900").spawn()?;
    let tried = (|| {
        fs::write(cgroup.join("cgroup.procs"), other.id().to_string())?;
        let bundle = Bundle::of("ringfence-crun", "echo started")?
            .with(|value| value["linux"]["cgroupsPath"] = json!("/ringfence-test-shared"))?;
        let refused = bundle.call(&["run", "@"])?;
        refused.claim(
            refused.code() != Some(0) && refused.out().is_empty(),
            "no start",
        )
    })();
    other.kill()?;
    other.wait()?;
    fs::remove_dir(cgroup).ok();
    tried
}

fn missing_profile() -> Verdict {
    for name in ["no-such-profile", "../../tmp/own", "/tmp/own.toml"] {
        let bundle = Bundle::of("ringfence-runc", "echo started")?.named(name)?;
        let refused = bundle.call(&["run", "@"])?;
        refused.claim(
            refused.code() == Some(1) && refused.out().is_empty(),
            "no start",
        )?;
        refused.complains("ringfence: ")?;
    }
    Ok(())
}

/// What bare runc answers is what we answer.
fn answers() -> Verdict {
    let bare = Bundle::of("runc", "exit 7")?;
    let fenced = Bundle::of("ringfence-runc", "exit 7")?;
    let calls: [&[&str]; 7] = [
        &["run", "@"],
        &["run", "--bundle", "/no/such/bundle", "@"],
        &["state", "no-such-container"],
        &["kill", "no-such-container", "9"],
        &["checkpoint", "no-such-container"],
        &["no-such-verb"],
        &["--version"],
    ];
    for words in calls {
        let (one, other) = (bare.call(words)?, fenced.call(words)?);
        // Its log lines hold the time.
        let same = one.code() == other.code() && one.out() == other.out();
        other.claim(
            same && one.err().is_empty() == other.err().is_empty(),
            &format!("{:?} {} {}", one.code(), one.out(), one.err()),
        )?;
    }
    let log = fenced.path().join("log.json");
    let path = log.to_string_lossy().into_owned();
    let words = ["--log", &path, "--log-format", "json", "restore", "@"];
    fenced.call(&words)?.complains("restore")?;
    let line: serde_json::Value = serde_json::from_slice(&fs::read(&log)?)?;
    if line["level"] != "error" || !line["msg"].to_string().contains("restore") {
        return Err(format!("the engine is told {line}").into());
    }
    Ok(())
}

pub(super) fn created(bundle: &Bundle) -> Verdict {
    let created = bundle.create()?;
    created.claim(created.code() == Some(0), "a container that was created")
}

pub(super) fn started(bundle: &Bundle) -> Verdict {
    created(bundle)?;
    bundle.call(&["start", "@"])?.says("")
}

/// Killed and deleted.
pub(super) fn ended(bundle: &Bundle) -> Verdict {
    bundle.call(&["kill", "@", "KILL"])?.says("")?;
    bundle.call(&["delete", "--force", "@"])?.says("")
}

/// The process that owns the container's fence.
pub(super) fn monitor_of(bundle: &Bundle) -> Result<Option<i32>, Failed> {
    for file in fs::read_dir("/run/ringfence/containers")? {
        let file = file?.path();
        if !fs::read_to_string(&file)?.contains(bundle.id()) {
            continue;
        }
        for process in fs::read_dir("/proc")? {
            let process = process?.path();
            let Ok(open) = fs::read_dir(process.join("fd")) else {
                continue;
            };
            let holds = open
                .flatten()
                .any(|one| fs::read_link(one.path()).is_ok_and(|target| target == file));
            let pid = process
                .file_name()
                .and_then(|name| name.to_str()?.parse().ok());
            if holds && pid.is_some() {
                return Ok(pid);
            }
        }
    }
    Ok(None)
}

pub(super) fn absent(path: &Path) -> Verdict {
    if path.exists() {
        return Err(format!("{} is there", path.display()).into());
    }
    Ok(())
}

/// No record is about this container, or none after a while: a runtime waits ten seconds for its monitor, which may take longer
/// to end where the processor is emulated and busy.
pub(super) fn nothing_names(bundle: &Bundle) -> Verdict {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match no_record_names(bundle) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(100)),
            verdict => return verdict,
        }
    }
}

/// No record of a fence or of a container is about this one: records hold the cgroup's path, and that the name.
fn no_record_names(bundle: &Bundle) -> Verdict {
    let mut folders = vec![PathBuf::from("/run/ringfence/containers")];
    for version in fs::read_dir("/run/ringfence/fences")? {
        folders.push(version?.path());
    }
    for folder in folders {
        for file in fs::read_dir(folder)? {
            let file = file?.path();
            let names = fs::read_to_string(&file).is_ok_and(|text| text.contains(bundle.id()));
            if names {
                return Err(format!("{} is left", file.display()).into());
            }
        }
    }
    Ok(())
}
