//! Containers where no hooks judge: a launcher in front of their command, and mounts that are laid from outside.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::UNHOOKED;
use super::bundle::Bundle;
use super::runtimes::{
    FOREVER, absent, behind, created, ended, monitor_of, nothing_names, started,
};
use crate::kit::{Suite, Verdict, binary};

pub(crate) fn register(suite: &mut Suite) {
    for (name, body) in [
        (
            "oci::fallback::the_launcher_stays_as_it_is",
            launcher_stays as fn(&str) -> Verdict,
        ),
        (
            "oci::fallback::nobody_inside_holds_up_what_exec_adds",
            held_up,
        ),
        ("oci::fallback::ways_out_are_closed", ways_out),
        (
            "oci::fallback::system_calls_are_closed_by_the_launchers_filter",
            filtered,
        ),
        (
            "oci::fallback::what_the_runtime_remounts_stays_closed",
            remounts,
        ),
        (
            "oci::fallback::tasks_outside_are_not_signalled",
            tasks_outside,
        ),
        (
            "oci::fallback::a_leaked_descriptor_is_no_way_to_the_host",
            leaked_descriptor,
        ),
        (
            "oci::fallback::without_its_monitor_nothing_starts",
            killed_before_start,
        ),
        (
            "oci::fallback::a_killed_monitor_leaves_the_fence_standing",
            killed_after_start,
        ),
    ] {
        for runtime in behind() {
            suite.test(format!("{name}[{runtime}]"), UNHOOKED, move || {
                body(runtime)
            });
        }
    }
    for (name, body) in [
        (
            "oci::fallback::a_link_in_the_launchers_place_is_refused",
            link_in_place as fn() -> Verdict,
        ),
        (
            "oci::fallback::a_command_that_is_not_there_is_the_runtimes_complaint",
            missing_command,
        ),
        (
            "oci::fallback::a_hook_alone_is_refused_with_the_way_out",
            hook_alone,
        ),
    ] {
        suite.test(name, UNHOOKED, body);
    }
}

/// What is put in front of later processes must not be the container's to change.
fn launcher_stays(runtime: &str) -> Verdict {
    let script = "echo x > /.ringfence/launch || echo unwritten; mv /.ringfence /other || echo unmoved; \
                  rm -f /.ringfence/plan || echo unremoved; echo x > /proc/self/exe || echo unchanged";
    let fenced = Bundle::of(runtime, script)?.call(&["run", "@"])?;
    fenced.says("unwritten\nunmoved\nunremoved\nunchanged\n")
}

/// A lock on what the launcher reads is not waited for when it has been told.
fn held_up(runtime: &str) -> Verdict {
    let bundle = Bundle::of(
        runtime,
        "exec 9</.ringfence/plan; flock -x 9; echo held > /tmp/held; sleep 60",
    )?;
    started(&bundle)?;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !bundle.at("tmp/held").exists() {
        if std::time::Instant::now() > deadline {
            return Err("the lock was not taken".into());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // One that waits would wait for ever.
    let added = bundle.by_shell("timeout 20 \"$0\" exec \"$1\" cat /data/kept")?;
    added.says("kept\n")?;
    ended(&bundle)
}

/// Each with the same container unfenced as the control: all privileges, as the image may well demand.
fn ways_out(runtime: &str) -> Verdict {
    let script = "chroot / true || echo no-chroot; \
                  mount -t cgroup2 x /tmp || echo no-cgroup; \
                                    echo x > /proc/sys/kernel/hostname || echo no-setting; \
                  chmod 700 /data || echo no-mode";
    let all = |value: &mut serde_json::Value| {
        let all = json!(["CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_DAC_OVERRIDE"]);
        value["process"]["capabilities"] =
            json!({ "bounding": all, "effective": all, "permitted": all });
    };
    let fenced = Bundle::of(runtime, script)?
        .with(all)?
        .call(&["run", "@"])?;
    fenced.says("no-chroot\nno-cgroup\nno-setting\nno-mode\n")?;
    let bare = runtime.trim_start_matches("ringfence-");
    let unfenced = Bundle::of(bare, script)?.with(all)?.call(&["run", "@"])?;
    unfenced.says("")
}

/// The bundle gets no filter, and keeps the one that it has; so does what `exec` adds.
fn filtered(runtime: &str) -> Verdict {
    let script = "grep filters: /proc/self/status; unshare -U true 2>/dev/null || echo unshared";
    let bundle = Bundle::of(runtime, FOREVER)?;
    started(&bundle)?;
    if !bundle.configuration()?["linux"]["seccomp"].is_null() {
        return Err("the runtime has a filter to compile".into());
    }
    let added = bundle.call(&["exec", "@", "sh", "-c", script])?;
    added.says("Seccomp_filters:\t1\nunshared\n")?;
    ended(&bundle)?;
    let own = |value: &mut serde_json::Value| {
        let rule = json!({ "names": ["swapon"], "action": "SCMP_ACT_ERRNO" });
        value["linux"]["seccomp"] =
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    };
    let fenced = Bundle::of(runtime, script)?
        .with(own)?
        .call(&["run", "@"])?;
    fenced.says("Seccomp_filters:\t2\nunshared\n")?;
    let bare = runtime.trim_start_matches("ringfence-");
    let unfenced = Bundle::of(bare, script)?.with(own)?.call(&["run", "@"])?;
    unfenced.says("Seccomp_filters:\t1\n")
}

/// A runtime makes the root read-only in the end, which would take flags away that were set before.
fn remounts(runtime: &str) -> Verdict {
    let script = "/data/sh true || echo unexecuted; echo x > /made || echo unwritten";
    let bundle =
        Bundle::of(runtime, script)?.with(|value| value["root"]["readonly"] = json!(true))?;
    fs::copy("/bin/busybox", bundle.at("data/sh"))?;
    bundle.call(&["run", "@"])?.says("unexecuted\nunwritten\n")
}

/// A directory of the host's that was left open (CVE-2024-21626): what it has besides the container's own files is closed.
fn leaked_descriptor(runtime: &str) -> Verdict {
    let script =
        "cat /proc/self/fd/3/config.json >/tmp/c; echo $?; echo x > /proc/self/fd/3/made; echo $?";
    let run = |runtime: &str| {
        let bundle = Bundle::of(runtime, script)?;
        bundle.by_shell("exec 3<. && exec \"$0\" run --preserve-fds 1 \"$1\"")
    };
    run(runtime)?.says("1\n1\n")?;
    run(runtime.trim_start_matches("ringfence-"))?.says("0\n0\n")
}

/// In the host's own process namespace.
fn tasks_outside(runtime: &str) -> Verdict {
    let run = |runtime: &str| {
        let bundle = Bundle::of(runtime, "kill -0 1; echo $?")?.with(|value| {
            if let Some(list) = value["linux"]["namespaces"].as_array_mut() {
                list.retain(|one| one["type"] != "pid");
            }
        })?;
        bundle.call(&["run", "@"])
    };
    run(runtime)?.says("1\n")?;
    run(runtime.trim_start_matches("ringfence-"))?.says("0\n")
}

/// The launcher is told what to do by its monitor, and by nobody else.
fn killed_before_start(runtime: &str) -> Verdict {
    let bundle = Bundle::of(runtime, "echo x > /tmp/made; sleep 60")?;
    created(&bundle)?;
    let monitor = monitor_of(&bundle)?.ok_or("there is no monitor")?;
    kill(Pid::from_raw(monitor), Signal::SIGKILL)?;
    bundle.call(&["start", "@"])?;
    let added = bundle.call(&["exec", "@", "sh", "-c", "echo x > /tmp/made"])?;
    added.claim(added.code() != Some(0), "an exec that is refused")?;
    bundle.call(&["delete", "--force", "@"])?;
    absent(&bundle.at("tmp/made"))?;
    Bundle::of(runtime, "true")?.call(&["run", "@"])?.says("")?;
    nothing_names(&bundle)
}

fn killed_after_start(runtime: &str) -> Verdict {
    let bundle = Bundle::of(runtime, FOREVER)?;
    started(&bundle)?;
    let first = bundle.call(&["exec", "@", "cat", "/data/kept"])?;
    first.says("kept\n")?;
    let monitor = monitor_of(&bundle)?.ok_or("there is no monitor")?;
    kill(Pid::from_raw(monitor), Signal::SIGKILL)?;
    let added = bundle.call(&[
        "exec",
        "@",
        "sh",
        "-c",
        "cat /data/kept; echo x > /data/made",
    ])?;
    added.claim(
        added.out() == "kept\n" && added.code() != Some(0),
        "an exec that may read and not write",
    )?;
    ended(&bundle)?;
    absent(&bundle.at("data/made"))?;
    Bundle::of(runtime, "true")?.call(&["run", "@"])?.says("")?;
    nothing_names(&bundle)
}

/// Who can change the link could put a launcher of its own in front of what `exec` adds.
fn link_in_place() -> Verdict {
    let bundle = Bundle::of("ringfence-runc", "echo started")?;
    std::os::unix::fs::symlink("data", bundle.at(".ringfence"))?;
    let refused = bundle.call(&["run", "@"])?;
    refused.claim(refused.out().is_empty(), "no start")?;
    refused.complains("/.ringfence")
}

fn missing_command() -> Verdict {
    let bundle = Bundle::of("ringfence-runc", "true")?
        .with(|value| value["process"]["args"] = json!(["no-such-command"]))?;
    bundle
        .call(&["run", "@"])?
        .complains("executable file not found in $PATH")
}

/// It cannot put a launcher into the bundle.
fn hook_alone() -> Verdict {
    let bundle = Bundle::of("runc", "echo started")?.with(|value| {
        let hook = json!({ "path": binary(), "args": ["ringfence", "oci", "hook"] });
        value["hooks"] = json!({ "createRuntime": [hook], "poststop": [hook] });
    })?;
    let refused = bundle.call(&["run", "@"])?;
    refused.claim(refused.out().is_empty(), "no start")?;
    refused.complains("ringfence oci runtime")
}
