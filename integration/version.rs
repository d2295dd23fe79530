//! The program starts at all: on every floor, and for every user.

use crate::kit::{Need, Ringfence, Suite, Verdict};

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "version::starts_and_says_its_version",
        &[],
        starts_and_says_its_version,
    );
    suite.test(
        "version::starts_for_an_ordinary_user",
        &[Need::Root],
        starts_for_an_ordinary_user,
    );
}

fn starts_and_says_its_version() -> Verdict {
    Ringfence::with(["--version"])
        .run()?
        .succeeds()?
        .says(env!("CARGO_PKG_VERSION"))?;
    Ok(())
}

fn starts_for_an_ordinary_user() -> Verdict {
    Ringfence::with(["--version"])
        .by_ordinary_user()
        .run()?
        .succeeds()?;
    Ok(())
}
