//! Many fences: one after the other, at once, flooded, and against each other. `RINGFENCE_SOAK` makes it long, in seconds for each phase
//! (`cargo xtask soak`).

use super::script;
use crate::kit::{OWN_RUN_ON_HOSTS, Suite};

const SOAK: &str = include_str!("soak.py");

pub(super) fn register(suite: &mut Suite) {
    suite.test(
        "soak::nothing_grows_and_nothing_is_lost",
        OWN_RUN_ON_HOSTS,
        || {
            let seconds = std::env::var("RINGFENCE_SOAK").unwrap_or_else(|_| "0".to_owned());
            let seconds: u32 = seconds
                .parse()
                .map_err(|error| format!("RINGFENCE_SOAK is `{seconds}`: {error}"))?;
            script(
                &format!("/usr/bin/python3 -IS soak.py {seconds}\nuntil_ nothing_is_left"),
                &[("soak.py", SOAK)],
            )
        },
    );
}
