//! What tasks see of themselves and of others in /proc, under the fallback engine.

use libtest_mimic::Failed;

use crate::kit::{Finished, Folder, Need, Ringfence, Suite, Verdict};

const NEEDS: &[Need] = &[Need::Root, Need::NoBpfLsm];

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "processes::a_listing_of_processes_shows_those_of_the_fence",
        NEEDS,
        a_listing_of_processes_shows_those_of_the_fence,
    );
    suite.test(
        "processes::what_is_no_process_is_read_by_rules_where_processes_are_listed",
        NEEDS,
        what_is_no_process_is_read_by_rules_where_processes_are_listed,
    );
    suite.test(
        "processes::shared_memory_by_a_pattern_is_of_the_fence_alone",
        NEEDS,
        shared_memory_by_a_pattern_is_of_the_fence_alone,
    );
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

/// The rules of [`SHELL`], and that the processes may be listed.
const LISTS: &str =
    "read = [\"/proc\", \"/bin/sh\", \"/usr/bin/dash\"]\nexec = [\"/bin/sh\", \"/usr/bin/dash\"]";

fn a_listing_of_processes_shows_those_of_the_fence() -> Verdict {
    let outside = std::process::id();
    let script = format!(
        "ls /proc; sleep 60 & for look in $(seq 999); do grep -x sleep /proc/$!/comm && break; done; kill $!; head -n1 /proc/$$/status\n\
         readlink /proc/self | grep -q '^[0-9]*$' && echo number\n\
         for task in 1 {outside}; do ls /proc/$task && echo told; cat /proc/$task/cmdline && echo told; done; true"
    );
    let finished = shell(LISTS, &script)?;
    finished
        .succeeds()?
        .says("sleep\n")?
        .says("Name:\tsh")?
        .says("number\n")?
        .does_not_say("told")?;
    let seen = finished.out();
    let tasks: Vec<_> = seen
        .lines()
        .filter_map(|line| line.parse::<u32>().ok())
        .collect();
    let foreign = tasks.iter().any(|task| *task == 1 || *task == outside);
    finished.claim(!foreign && !tasks.is_empty(), "no task but the fence's own")?;
    Ok(())
}

fn what_is_no_process_is_read_by_rules_where_processes_are_listed() -> Verdict {
    let script = "head -n1 /proc/cpuinfo | cut -c1-9; cat /proc/sys/kernel/ostype\n\
                  for file in kallsyms kcore sysrq-trigger sys/kernel/core_pattern sys/kernel/modprobe tty/drivers bus/pci/devices \
                  irq/default_smp_affinity; do head -c1 /proc/$file && echo told $file; done\n\
                  ls /proc/sys/kernel | grep -x -e core_pattern -e modprobe && echo told; ls /proc/irq && echo told\n\
                  echo x >/proc/self/comm && echo written; echo 1 >/proc/sys/kernel/ostype && echo written; true";
    shell(LISTS, script)?
        .succeeds()?
        .says("processor")?
        .says("Linux\n")?
        .does_not_say("told")?
        .does_not_say("written")?;
    Ok(())
}

fn shared_memory_by_a_pattern_is_of_the_fence_alone() -> Verdict {
    let outside = tempfile::Builder::new()
        .prefix("sem.outside")
        .tempfile_in("/dev/shm")?;
    std::fs::write(outside.path(), "told")?;
    let rules = SHELL.replace(
        "read = [",
        "write = [\"/dev/shm/sem.*\"]\nread = [\"/dev/shm/sem.*\", ",
    );
    let made = format!("/dev/shm/sem.inside-{}", std::process::id());
    let path = outside.path().display();
    let script = format!("echo made >{made} && cat {made}; cat {path}; echo x >{path}.x; true");
    let finished = shell(&rules, &script)?;
    finished.succeeds()?.says("made\n")?.does_not_say("told")?;
    finished.claim(!std::path::Path::new(&made).exists(), "nothing outside")?;
    // One name alone is no pattern: it is the one outside.
    let one = format!("read = [\"{path}\", ");
    shell(&SHELL.replace("read = [", &one), &format!("cat {path}"))?.says("told")?;
    Ok(())
}
