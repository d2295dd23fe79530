//! When a run does not start: a wrong profile, or a protection that cannot be kept. Nothing ran then.

use crate::kit::{Fence, Folder, Need, Ringfence, Suite, Verdict};

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "refusal::a_wrong_profile_is_125_and_nothing_runs",
        &[Need::Root],
        a_wrong_profile_is_125_and_nothing_runs,
    );
    suite.test(
        "refusal::a_cycle_of_profiles_is_125_and_nothing_runs",
        &[Need::Root],
        a_cycle_of_profiles_is_125_and_nothing_runs,
    );
    suite.test(
        "refusal::a_wrong_argument_is_125_and_nothing_runs",
        &[Need::Root],
        a_wrong_argument_is_125_and_nothing_runs,
    );
    suite.test(
        "refusal::what_cannot_be_kept_is_refused_unless_it_may_degrade",
        &[Need::Root, Need::NoBpfLsm],
        what_cannot_be_kept_is_refused_unless_it_may_degrade,
    );
    suite.test(
        "refusal::the_engine_that_was_asked_for_or_none",
        &[Need::Root, Need::NoBpfLsm],
        the_engine_that_was_asked_for_or_none,
    );
    suite.test(
        "refusal::an_audit_denies_nothing_and_tells",
        &[Need::Root, Need::BpfLsm],
        an_audit_denies_nothing_and_tells,
    );
}

/// Each profile, and what the complaint says.
const WRONG: &[(&str, &str)] = &[
    ("version = 1\n[files]\nraed = [\"/x\"]\n", "raed"),
    ("version = 1\n[files]\nread = [\"/x[a\"]\n", "/x[a"),
    ("version = 1\n[files]\nread = [\"relative\"]\n", "relative"),
    (
        "version = 1\n[files]\nread = [\"${NO_SUCH}/x\"]\n",
        "NO_SUCH",
    ),
    ("version = 1\n[files]\nread = [\"/x\\u0000y\"]\n", "NUL"),
    ("version = 2\n", "version"),
    (
        "version = 1\nextends = [\"no-such-profile\"]\n",
        "no-such-profile",
    ),
    ("version = 1\n[files]\nread = \n", "trial.toml"),
    ("", "trial.toml"),
];

fn a_wrong_profile_is_125_and_nothing_runs() -> Verdict {
    let large = format!("version = 1\n#{}\n", "x".repeat(64 << 20));
    let large = [(large.as_str(), "trial.toml")];
    for (text, complaint) in WRONG.iter().chain(&large) {
        let folder = Folder::new()?;
        let profile = folder.file("trial.toml", text)?;
        Ringfence::with(["run", "-p"])
            .and([profile.into_os_string()])
            .and(["--", "echo", "ran"])
            .run()?
            .exits_with(125)?
            .does_not_say("ran")?
            .complains(complaint)?;
    }
    Ok(())
}

fn a_cycle_of_profiles_is_125_and_nothing_runs() -> Verdict {
    let folder = Folder::new()?;
    let one = folder.file("one.toml", "version = 1\nextends = [\"./two.toml\"]\n")?;
    folder.file("two.toml", "version = 1\nextends = [\"./one.toml\"]\n")?;
    Ringfence::with(["run", "-p"])
        .and([one.into_os_string()])
        .and(["--", "echo", "ran"])
        .run()?
        .exits_with(125)?
        .does_not_say("ran")?
        .complains("two.toml")?;
    Ok(())
}

fn a_wrong_argument_is_125_and_nothing_runs() -> Verdict {
    for words in [
        &["--capability", "no_such"][..],
        &["--memory", "much"],
        &["--best-effort", "hope"],
        &["--user", "no-such-user"],
        &["--keep-fd", "1000"],
        &["--no-such-flag"],
        &["-p", "no-such-profile"],
        &["--events", "/no/such/folder/events"],
    ] {
        Fence::untrusted()?
            .and(words.iter().copied())
            .run(["echo", "ran"])
            .run()?
            .exits_with(125)?
            .does_not_say("ran\n")?;
    }
    Ok(())
}

fn what_cannot_be_kept_is_refused_unless_it_may_degrade() -> Verdict {
    // Only BPF LSM can report without denying.
    let audit = Fence::untrusted()?.and(["--audit"]);
    audit
        .run(["echo", "ran"])
        .run()?
        .exits_with(125)?
        .does_not_say("ran")?
        .complains("files-read")?
        .complains("--best-effort")?;
    audit
        .and(["--best-effort", "files,exec,network"])
        .run(["echo", "ran"])
        .run()?
        .succeeds()?
        .says("ran")?
        .complains("files-read is absent")?;
    Ok(())
}

fn the_engine_that_was_asked_for_or_none() -> Verdict {
    Fence::untrusted()?
        .and(["--engine", "bpf-lsm"])
        .run(["echo", "ran"])
        .run()?
        .exits_with(125)?
        .complains("BPF LSM cannot be used")?
        .does_not_say("ran")?;
    Fence::untrusted()?
        .and(["--engine", "fallback"])
        .run(["echo", "ran"])
        .run()?
        .succeeds()?
        .says("ran")?;
    Ok(())
}

fn an_audit_denies_nothing_and_tells() -> Verdict {
    let fence = Fence::untrusted()?.and(["--audit"]);
    fence
        .run(["sh", "-c", "cat /etc/shadow && touch new"])
        .run()?
        .succeeds()?
        .complains("would deny open /etc/shadow")?
        .complains("would be denied")?;
    fence.run(["test", "-e", "new"]).run()?.succeeds()?;
    Ok(())
}
