//! What tasks see of themselves and of others in /proc, under the fallback engine.

use libtest_mimic::Failed;

use crate::kit::{Finished, Folder, Need, Ringfence, Suite, Verdict};

const NEEDS: &[Need] = &[Need::Root, Need::NoBpfLsm];

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "processes::a_task_reads_of_itself_and_of_nobody_outside",
        NEEDS,
        a_task_reads_of_itself_and_of_nobody_outside,
    );
    suite.test(
        "processes::a_deny_rule_about_what_is_told_closes_all_of_it",
        NEEDS,
        a_deny_rule_about_what_is_told_closes_all_of_it,
    );
}

/// Runs a shell under this profile and more rules about files, by the fallback.
fn shell(rules: &str, script: &str) -> Result<Finished, Failed> {
    let folder = Folder::new()?;
    let text = format!("version = 1\nextends = [\"base\", \"coreutils\"]\n[files]\n{rules}\n");
    let profile = folder.file("own.toml", &text)?;
    Ringfence::with(["run", "--engine", "fallback", "-p"])
        .and([profile])
        .and(["--", "sh", "-c", script])
        .run()
}

const SHELL: &str =
    "read = [\"/bin/sh\", \"/usr/bin/dash\"]\nexec = [\"/bin/sh\", \"/usr/bin/dash\"]";

fn a_task_reads_of_itself_and_of_nobody_outside() -> Verdict {
    let outside = std::process::id();
    let script = format!(
        "head -n1 /proc/self/status; head -c4 /proc/thread-self/comm >/dev/null && echo thread\n\
         ls /proc/tty/driver; for place in /proc /proc/tty/driver; do\n\
         for task in 1 {outside}; do cat $place/$task/cmdline && echo told; done; done\n\
         cat /proc/sysrq-trigger /proc/kallsyms && echo told; echo x >/proc/self/comm && echo written; true"
    );
    let finished = shell(SHELL, &script)?;
    finished
        .succeeds()?
        .says("Name:\thead")?
        .says("thread\n")?
        .does_not_say("told")?
        .does_not_say("written")?;
    let seen = finished.out();
    let mut tasks = seen.lines().filter_map(|line| line.parse::<u32>().ok());
    let foreign = tasks.any(|task| task == 1 || task == outside);
    finished.claim(!foreign, "no task from outside in the listing")?;
    Ok(())
}

fn a_deny_rule_about_what_is_told_closes_all_of_it() -> Verdict {
    let script = "cat /proc/self/environ /proc/self/status && echo told; echo end";
    let denied = format!("{SHELL}\ndeny = [\"/proc/[0-9]*/environ\"]");
    shell(&denied, script)?
        .succeeds()?
        .says("end")?
        .does_not_say("told")?;
    shell(SHELL, script)?.says("told")?;
    Ok(())
}
