//! A container that is recorded, and then held to what was learned.

use std::fs;

use super::bundle::Bundle;
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

/// It would run without a fence.
fn not_asked() -> Verdict {
    let bundle = Bundle::of("ringfence-runc", "echo started")?.with(|value| {
        value["annotations"] = serde_json::json!({ "dev.ringfence.learn": "/tmp/learned.toml" });
    })?;
    let refused = bundle.call(&["run", "@"])?;
    refused.claim(refused.out().is_empty(), "no start")?;
    refused.complains("learn")
}
