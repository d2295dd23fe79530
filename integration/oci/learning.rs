//! A container that is recorded, and then held to what was learned.

use std::fs;

use super::bundle::{Bundle, Ended};
use super::names::HostProfile;
use crate::kit::{Need, Suite, Verdict};

/// In emulated machines a recording takes half a minute to begin.
const NEEDS: &[Need] = &[
    Need::Root,
    Need::Landlock,
    Need::Cgroup,
    Need::Processor,
    Need::Program("runc"),
    Need::Program("busybox"),
];

pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "oci::what_a_container_did_is_what_its_learned_profile_allows",
        NEEDS,
        learned,
    );
    suite.test(
        "oci::a_bundle_is_fenced_and_recorded_in_any_order",
        NEEDS,
        in_any_order,
    );
    suite.test(
        "oci::a_container_may_not_ask_to_be_recorded_unless_the_host_allows_it",
        NEEDS,
        not_asked,
    );
}

fn learned() -> Verdict {
    let script = "cat /data/kept; echo x > /tmp/made; cat /tmp/made";
    let bundle = Bundle::of("ringfence-runc", script)?;
    let file = bundle.path().join("learned.toml");
    let path = file.to_string_lossy().into_owned();
    let words = [
        "oci",
        "runtime",
        "--runtime",
        "runc",
        "--learn",
        &path,
        "--",
        "run",
        "@",
    ];
    bundle.plain(&words)?.says("kept\nx\n")?;
    let profile = HostProfile::of(&fs::read_to_string(&file)?)?;
    let again = Bundle::of("ringfence-runc", script)?.named(&profile.name)?;
    again.call(&["run", "@"])?.says("kept\nx\n")?;
    let other =
        "cat /data/kept; echo x > /data/other || echo unwritten; cat /etc/hosts || echo unread";
    let other = Bundle::of("ringfence-runc", other)?.named(&profile.name)?;
    fs::write(other.at("etc/hosts"), "unread\n")?;
    other.call(&["run", "@"])?.says("kept\nunwritten\nunread\n")
}

/// What one start puts into the bundle is not there for the next, be it ringfence's own; a bare runtime finds it and does the same.
fn in_any_order() -> Verdict {
    let script = "cat /data/kept; chroot / /bin/true && echo changed; true";
    let bundle = Bundle::of("ringfence-runc", script)?.with(|value| {
        let all = serde_json::json!(["CAP_SYS_CHROOT"]);
        value["process"]["capabilities"] =
            serde_json::json!({ "bounding": all, "effective": all, "permitted": all });
    })?;
    let fenced = || bundle.call(&["run", "@"]);
    let file = bundle.path().join("learned.toml");
    let path = file.to_string_lossy().into_owned();
    let recorded = || {
        let words = ["oci", "run", "--learn", &path, "--id", bundle.id(), "."];
        let ended = bundle.plain(&words)?;
        ended.says("kept\nchanged\n")?;
        let profile = fs::read_to_string(&file)?;
        fs::remove_file(&file)?;
        // The numbers of processes and the time are in comments.
        let rules = profile.lines().map(|line| line.split('#').next());
        let rules: Vec<&str> = rules.flatten().map(str::trim_end).collect();
        match profile.contains("sys_chroot") && profile.contains("/data/kept") {
            true => Ok(rules.join("\n")),
            false => Err(libtest_mimic::Failed::from(format!("learned: {profile}"))),
        }
    };
    let first = recorded()?;
    fenced()?.says("kept\n")?;
    let again = recorded()?;
    if first != again {
        return Err(format!("{first}\nis not\n{again}").into());
    }
    fenced()?.says("kept\n")?;
    bare(&bundle)?.says("kept\n")
}

/// The same bundle by the runtime alone.
fn bare(bundle: &Bundle) -> Result<Ended, libtest_mimic::Failed> {
    bundle.by_shell("exec runc run \"$1\"")
}

/// It would run without a fence.
fn not_asked() -> Verdict {
    let bundle = Bundle::of("ringfence-runc", "echo started")?.with(|value| {
        value["annotations"] = serde_json::json!({ "dev.ringfence.learn": "/tmp/learned.toml" });
    })?;
    let refused = bundle.call(&["run", "@"])?;
    refused.claim(refused.out().is_empty(), "no start")?;
    refused.complains("learn")
}
