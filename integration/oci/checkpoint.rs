//! Checkpoints: what is restored executes nothing, so that nothing would put it behind a fence.

use std::fs;

use super::FENCED;
use super::bundle::Bundle;
use super::runtimes::{FOREVER, behind, ended, started};
use crate::kit::{Suite, Verdict};

pub(crate) fn register(suite: &mut Suite) {
    for runtime in behind() {
        suite.test(
            format!(
                "oci::a_fenced_container_does_not_end_with_a_checkpoint_and_is_not_restored[{runtime}]"
            ),
            FENCED,
            move || refused(runtime),
        );
    }
}

fn refused(runtime: &str) -> Verdict {
    let bundle = Bundle::of(runtime, FOREVER)?;
    started(&bundle)?;
    let images = bundle.path().join("images");
    fs::create_dir(&images)?;
    let images = images.display().to_string();
    let checkpoint = ["checkpoint", "--image-path", &images, "@"];
    bundle.call(&checkpoint)?.complains("--leave-running")?;
    let state = bundle.state()?;
    if state["status"] != "running" {
        return Err(format!("it is {}", state["status"]).into());
    }
    if fs::read_dir(&images)?.next().is_some() {
        return Err("something was written".into());
    }
    // This one is the runtime's to make, and to complain about.
    let more = [&["checkpoint", "--leave-running"][..], &checkpoint[1..]].concat();
    let left = bundle.call(&more)?;
    left.claim(!left.err().contains("ringfence: "), "the runtime's words")?;
    ended(&bundle)?;
    let restore = ["restore", "--image-path", &images, "--detach", "@"];
    bundle.call(&restore)?.complains("start a new container")
}
