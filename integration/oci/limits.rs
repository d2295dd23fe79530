//! Limits of a profile for a container.

use serde_json::json;

use super::FENCED;
use super::bundle::Bundle;
use super::names::HostProfile;
use crate::kit::{Suite, Verdict};

pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "oci::a_profiles_limits_are_the_containers_where_they_are_stricter",
        FENCED,
        limits,
    );
    suite.test("oci::a_container_ends_when_its_time_is_up", FENCED, time);
}

/// A file may have four kilobytes, and a process twenty files, whatever the bundle says.
fn limits() -> Verdict {
    let profile = HostProfile::of(
        "version = 1\nextends = [\"untrusted\"]\n[limits]\nfile-size = \"4KiB\"\nopen-files = 20\n",
    )?;
    let script = "ulimit -n; ulimit -f";
    let wide = |value: &mut serde_json::Value| {
        value["process"]["rlimits"] = json!([
            { "type": "RLIMIT_NOFILE", "soft": 64, "hard": 128 },
            { "type": "RLIMIT_FSIZE", "soft": 1024, "hard": 1024 } ]);
    };
    let bundle = Bundle::of("ringfence-runc", script)?.with(wide)?;
    bundle
        .named(&profile.name)?
        .call(&["run", "@"])?
        .says("20\n2\n")?;
    let bundle = Bundle::of("runc", script)?.with(wide)?;
    bundle.call(&["run", "@"])?.says("64\n2\n")
}

fn time() -> Verdict {
    let profile =
        HostProfile::of("version = 1\nextends = [\"untrusted\"]\n[limits]\ntime = \"3s\"\n")?;
    let bundle = Bundle::of("ringfence-runc", "echo started; sleep 600; echo survived")?;
    let ended = bundle.named(&profile.name)?.call(&["run", "@"])?;
    ended.claim(
        ended.out() == "started\n" && ended.code() == Some(137),
        "an end by a signal",
    )
}
