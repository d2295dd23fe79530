//! The profile that applies when none is named: what it keeps from a program, and what is said about it.

use std::fs;
use std::path::Path;

use crate::kit::{DENIED, Fence, Finished, Need, OK, Ringfence, Suite, Verdict};

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    let root = &[Need::Root];
    suite.test(
        "untrusted::private_keys_are_not_read",
        root,
        private_keys_are_not_read,
    );
    suite.test(
        "untrusted::passwords_are_not_read",
        root,
        passwords_are_not_read,
    );
    suite.test(
        "untrusted::writes_to_its_temporary_folder_only",
        root,
        writes_to_its_temporary_folder_only,
    );
    suite.test(
        "untrusted::the_temporary_folder_is_gone_afterwards",
        root,
        the_temporary_folder_is_gone_afterwards,
    );
    suite.test("untrusted::has_no_network", root, has_no_network);
    suite.test(
        "untrusted::standard_output_is_the_commands_alone",
        root,
        standard_output_is_the_commands_alone,
    );
    suite.test(
        "untrusted::a_denial_names_the_rule_the_path_and_the_programs",
        &[Need::Root, Need::BpfLsm],
        a_denial_names_the_rule_the_path_and_the_programs,
    );
    suite.test(
        "untrusted::what_is_offered_to_paste_makes_the_run_succeed",
        root,
        what_is_offered_to_paste_makes_the_run_succeed,
    );
    suite.test(
        "untrusted::quiet_says_nothing_of_denials",
        root,
        quiet_says_nothing_of_denials,
    );
    suite.test(
        "untrusted::each_denial_is_a_line_of_json_in_the_file_of_events",
        root,
        each_denial_is_a_line_of_json_in_the_file_of_events,
    );
    suite.test(
        "untrusted::the_last_run_is_explained_afterwards",
        root,
        the_last_run_is_explained_afterwards,
    );
    suite.test(
        "untrusted::a_name_with_control_characters_is_shown_escaped",
        root,
        a_name_with_control_characters_is_shown_escaped,
    );
}

/// A run of a shell script in a folder that is a home, with keys and notes in it.
fn at_home(options: &[&str], script: &str) -> Result<(Fence, Finished), libtest_mimic::Failed> {
    let fence = Fence::untrusted()?.and(options.iter().copied());
    fence.folder().file("home/.ssh/id_ed25519", "PRIVATE")?;
    fence.folder().file("home/notes", "notes")?;
    let finished = shell(&fence, script)?;
    Ok((fence, finished))
}

fn shell(fence: &Fence, script: &str) -> Result<Finished, libtest_mimic::Failed> {
    fence
        .run(["sh", "-c", script])
        .variable("HOME", fence.at("home"))
        .run()
}

fn private_keys_are_not_read() -> Verdict {
    at_home(&[], "cat home/notes; cat ~/.ssh/id_ed25519")?
        .1
        .fails()?
        .says("notes")?
        .does_not_say("PRIVATE")?;
    Ok(())
}

fn passwords_are_not_read() -> Verdict {
    Fence::untrusted()?.tries(&[
        ("read /etc/passwd", OK),
        ("read /etc/shadow", DENIED),
        ("read /proc/self/root/etc/shadow", DENIED),
    ])
}

fn writes_to_its_temporary_folder_only() -> Verdict {
    let fence = Fence::untrusted()?;
    fence.folder().file("file", "content")?;
    fence.tries(&[
        ("create $TMPDIR/new", OK),
        ("mkdir $TMPDIR/folder", OK),
        ("create new", DENIED),
        ("write file", DENIED),
        ("unlink file", DENIED),
        ("chmod file", DENIED),
        ("create /tmp/ringfence-test-escaped", DENIED),
        ("create /etc/ringfence-test-escaped", DENIED),
    ])
}

fn the_temporary_folder_is_gone_afterwards() -> Verdict {
    let (_, finished) = at_home(&[], "touch $TMPDIR/new; test -e $TMPDIR/new; echo $TMPDIR")?;
    let path = finished.succeeds()?.out();
    let gone = !path.trim().is_empty() && !Path::new(path.trim()).exists();
    finished.claim(gone, "the temporary folder to be gone")?;
    Ok(())
}

fn has_no_network() -> Verdict {
    Fence::untrusted()?.tries(&[("inet", DENIED)])?;
    Fence::untrusted()?
        .and(["--network", "open"])
        .tries(&[("inet", OK)])
}

fn standard_output_is_the_commands_alone() -> Verdict {
    let (_, finished) = at_home(&[], "printf exact; cat /etc/shadow; true")?;
    finished
        .succeeds()?
        .claim(finished.out() == "exact", "`exact` alone")?;
    Ok(())
}

fn a_denial_names_the_rule_the_path_and_the_programs() -> Verdict {
    let (fence, finished) = at_home(&[], "cat home/.ssh/id_ed25519 || exit 3")?;
    let key = fence.at("home/.ssh/id_ed25519").display().to_string();
    finished
        .exits_with(3)?
        .complains(&key)?
        .complains("deny rule `${HOME}/.{ssh,gnupg}/**`")?
        .complains("private keys")?
        .complains("profile untrusted")?;
    let chain = finished
        .err()
        .lines()
        .any(|line| line.contains("cat (") && line.contains("< sh ("));
    finished.claim(chain, "`cat (pid) < sh (pid)` on standard error")?;
    Ok(())
}

fn what_is_offered_to_paste_makes_the_run_succeed() -> Verdict {
    let (fence, finished) = at_home(&[], "echo more >> home/notes || exit 3")?;
    finished
        .exits_with(3)?
        .complains("no rule allows to write it")?;
    let err = finished.err();
    let offered = err.lines().find_map(|line| line.split_once("   or   "));
    let Some((_, flag)) = offered else {
        finished.claim(false, "a line to paste")?;
        return Ok(());
    };
    let words = shlex::split(flag).ok_or("the flag is not what a shell would take")?;
    shell(&fence.and(words), "echo more >> home/notes || exit 3")?.succeeds()?;
    Ok(())
}

fn quiet_says_nothing_of_denials() -> Verdict {
    let (_, finished) = at_home(&["--quiet"], "cat /etc/shadow; true")?;
    // The first run of all may have found out that BPF LSM cannot be had, which is not left unsaid.
    let news = |line: &str| line.contains("BPF LSM cannot be had");
    let err = finished.err();
    let ours = err
        .lines()
        .any(|line| line.contains("ringfence") && !news(line));
    finished.succeeds()?.claim(!ours, "nothing of ours")?;
    Ok(())
}

fn each_denial_is_a_line_of_json_in_the_file_of_events() -> Verdict {
    let fence = Fence::untrusted()?;
    let events = fence.at("trial/events.ndjson");
    let fence = fence.and(["--events".into(), events.clone().into_os_string()]);
    let finished = shell(
        &fence,
        "cat /etc/shadow; cat /etc/passwd; cat /etc/gshadow; true",
    )?;
    let mut paths = Vec::new();
    for line in fs::read_to_string(events)?.lines() {
        let event: serde_json::Value = serde_json::from_str(line)?;
        if event["verdict"] == "deny" && event["operation"] == "open" {
            paths.push(event["path"].as_str().unwrap_or_default().to_owned());
        }
    }
    finished.claim(
        paths == ["/etc/shadow", "/etc/gshadow"],
        &format!("two events, not {paths:?}"),
    )?;
    Ok(())
}

fn the_last_run_is_explained_afterwards() -> Verdict {
    let (fence, _) = at_home(&["--quiet"], "cat /etc/shadow; cat /etc/gshadow; true")?;
    let why = |words: &[&str]| {
        Ringfence::with(["why"])
            .and(words.iter().copied())
            .variable("XDG_STATE_HOME", fence.at("trial"))
            .run()
    };
    why(&[])?
        .succeeds()?
        .says("open /etc/shadow")?
        .says("open /etc/gshadow")?
        .says("deny rule")?;
    why(&["gshadow"])?
        .succeeds()?
        .says("/etc/gshadow")?
        .does_not_say("open /etc/shadow")?;
    let json = why(&["--json"])?;
    serde_json::from_str::<serde_json::Value>(&json.succeeds()?.out())?;
    Ok(())
}

fn a_name_with_control_characters_is_shown_escaped() -> Verdict {
    let (_, finished) = at_home(&[], r#"touch "$(printf 'home/\033[2Jx')"; true"#)?;
    finished.complains(r"home/\u{1b}[2Jx")?.claim(
        !finished.err().contains("home/\u{1b}"),
        "no escape code of ours",
    )?;
    Ok(())
}
