//! While a fence stands, whoever is outside of it does what it always could, and who is inside does not.

use crate::files::tree;
use crate::kit::{DENIED, Fence, Need, OK, Standing, Suite, Verdict};

/// All of them are denied inside, and possible outside.
const ACTS: &[&str] = &[
    "read closed/file",
    "write read/file",
    "create read/new",
    "mkdir read/new-folder",
    "fifo read/new-fifo",
    "symlink anything read/new-link",
    "link read/file write/gained",
    "rename read/folder read/moved",
    "exchange read/file closed/file",
    "truncate read/file",
    "chmod closed/file",
    "chown closed/file",
    "utimes closed/file",
    "setxattr closed/file",
    "unlink read/other",
    "rmdir read/empty",
    "list closed",
    "exec /usr/bin/true",
    "memory /usr/bin/true handle",
    "map /usr/bin/true",
    "inet",
];

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "outside::nobody_outside_of_a_standing_fence_is_denied_anything",
        &[Need::Root],
        nobody_outside_of_a_standing_fence_is_denied_anything,
    );
    suite.test(
        "outside::two_fences_have_each_their_own_rules",
        &[Need::Root],
        two_fences_have_each_their_own_rules,
    );
}

/// While a prober waits inside, `meanwhile` happens; then the prober inside does the acts.
fn during(
    fence: &Fence,
    acts: &[&str],
    meanwhile: impl FnOnce() -> Verdict,
) -> Result<Vec<String>, libtest_mimic::Failed> {
    let standing = Standing::of(fence, acts)?;
    let happened = meanwhile();
    let ended = standing.end()?;
    happened?;
    Ok(ended)
}

fn nobody_outside_of_a_standing_fence_is_denied_anything() -> Verdict {
    let fence = tree()?;
    let ended = during(&fence, ACTS, || {
        let other = tree()?;
        let output = other.unfenced(ACTS).output()?;
        let out = String::from_utf8(output.stdout)?;
        for (act, end) in ACTS.iter().zip(out.lines()) {
            if end != OK {
                return Err(format!("outside, `{act}`: {end}").into());
            }
        }
        let all = out.lines().count() == ACTS.len();
        all.then_some(()).ok_or_else(|| "not all acts ended".into())
    })?;
    for (act, end) in ACTS.iter().zip(&ended) {
        if end != DENIED {
            return Err(format!("inside, `{act}`: {end}").into());
        }
    }
    let all = ended.len() == ACTS.len();
    all.then_some(()).ok_or_else(|| "not all acts ended".into())
}

fn two_fences_have_each_their_own_rules() -> Verdict {
    let fence = tree()?;
    let ended = during(
        &fence,
        &["read read/file", "inet", "exec /usr/bin/true"],
        || {
            let other = tree()?.and([
                "--network",
                "open",
                "--read",
                "/usr/bin/true",
                "--exec",
                "/usr/bin/true",
            ]);
            other.tries(&[
                ("inet", OK),
                ("exec /usr/bin/true", OK),
                ("read closed/file", DENIED),
            ])
        },
    )?;
    if ended == [OK, DENIED, DENIED] {
        return Ok(());
    }
    Err(format!("inside: {ended:?}").into())
}
