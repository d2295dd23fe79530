//! What the filter of system calls refuses, as `ringfence run` tells it; and that it is refused whoever is there to tell.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use crate::kit::{Fence, Need, PYTHON, Ringfence, Suite, Verdict, binary};

/// The program, in the folder.
const CALLS: &str = "trial/calls.py";
/// Its rights.
const RULES: &str = "read = [\"@/trial/calls.py\", \"@/own/**\"]\nwrite = [\"@/own/**\"]";
/// What it takes to run it.
const LISTED: &str = "@default,@basic-io,@file-system,@process,@signal,@io-event,@ipc,@timer,ioctl,fadvise64,sysinfo,uname,prctl";
/// A call that is closed to every fence.
const KEYS: libc::c_long = libc::SYS_keyctl;
/// How long something of another process is waited for before it is taken for lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// A test's name, and what it does.
type Test = (&'static str, fn() -> Verdict);

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "calls::who_names_itself_schedules_itself",
        &[Need::Root, Need::Landlock],
        who_names_itself_schedules_itself,
    );
    let tests: [Test; 6] = [
        (
            "calls::what_is_refused_is_told_with_what_opens_it",
            what_is_refused_is_told_with_what_opens_it,
        ),
        (
            "calls::what_is_not_listed_is_told_with_the_line_that_lists_it",
            what_is_not_listed_is_told_with_the_line_that_lists_it,
        ),
        (
            "calls::what_says_not_here_is_not_told",
            what_says_not_here_is_not_told,
        ),
        (
            "calls::a_flood_is_told_once_and_counted",
            a_flood_is_told_once_and_counted,
        ),
        (
            "calls::without_a_supervisor_all_is_refused",
            without_a_supervisor_all_is_refused,
        ),
        (
            "calls::below_another_listener_the_filter_refuses_alone",
            below_another_listener_the_filter_refuses_alone,
        ),
    ];
    for (name, test) in tests {
        suite.test(name, &[Need::Root], test);
    }
}

fn fence() -> Result<Fence, Failed> {
    let fence = Fence::with(RULES)?;
    fence.folder().file(CALLS, include_str!("calls.py"))?;
    std::fs::create_dir(fence.at("own"))?;
    Ok(fence)
}

fn acts(fence: &Fence, acts: &[String]) -> Ringfence {
    let run = fence.run([PYTHON, "-IS", CALLS]);
    run.and(acts.iter().map(String::as_str))
}

fn what_is_refused_is_told_with_what_opens_it() -> Verdict {
    let fence = fence()?.and(["--events", "own/events"]);
    let (unshare, personality) = (libc::SYS_unshare, libc::SYS_personality);
    let tried = [
        format!("call {}", libc::SYS_getpid),
        format!("times 3 {KEYS} 0 -3 0"),
        format!("call {unshare} {:#x}", libc::CLONE_NEWUTS),
        format!("call {unshare} {:#x}", libc::CLONE_FILES),
        format!("call {personality} 0x400000"),
        format!("call {} 0 0 0 0 0", libc::SYS_mount),
    ];
    let finished = acts(&fence, &tried).run()?;
    finished
        .claim(
            finished.out() == "ok\nEPERM\nEPERM\nok\nEPERM\nEPERM\n",
            "four are refused",
        )?
        .complains("system-call keyctl  (3 times)")?
        .complains("[kernel] allow = [\"keyring\"]")?
        .complains("[kernel] allow = [\"namespaces\"]")?
        .complains("[kernel] allow = [\"mount\"]")?
        .complains("6 denied, 4 kinds")?;
    let events = std::fs::read_to_string(fence.at("own/events"))?;
    let told: Vec<_> = events.lines().collect();
    let names = ["keyctl", "unshare", "personality", "mount"];
    let agree = told.len() == names.len()
        && told.iter().zip(names).all(|(line, name)| {
            let path = format!("\"path\":\"{name}\"");
            ["\"deny\"", "\"system-call\"", &path, "\"filter\""]
                .iter()
                .all(|part| line.contains(part))
        });
    finished.claim(agree, &format!("events of {names:?}, not {events}"))?;
    let open = fence.and(["--allow-kernel", "keyring"]);
    let finished = acts(&open, &tried[1..2]).run()?;
    finished.claim(
        !finished.err().contains("keyctl"),
        "nothing of an open call",
    )?;
    Ok(())
}

fn what_is_not_listed_is_told_with_the_line_that_lists_it() -> Verdict {
    // The launcher's own calls are not listed either.
    let fence = fence()?.and(["--syscalls", LISTED]);
    let tried = [
        format!("call {}", libc::SYS_sched_get_priority_max),
        format!("call {} -1 0 0 0", libc::SYS_sendmmsg),
        format!("call {} 1 0 0", libc::SYS_seccomp),
        format!("listener {}", libc::SYS_seccomp),
    ];
    let finished = acts(&fence, &tried).run()?;
    finished
        .claim(
            finished.out() == "EPERM\nEPERM\nEPERM\nEPERM\n",
            "none is let through",
        )?
        .complains("system-call sched_get_priority_max")?
        .complains("--syscalls sched_get_priority_max")?;
    let wider = fence.and(["--syscalls", "sched_get_priority_max"]);
    let finished = acts(&wider, &tried[..1]).run()?;
    finished
        .says("ok")?
        .claim(finished.err().is_empty(), "nothing to tell")?;
    Ok(())
}

fn what_says_not_here_is_not_told() -> Verdict {
    let tried = [format!("call {} 0 0", libc::SYS_clone3)];
    let finished = acts(&fence()?, &tried).run()?;
    finished
        .claim(finished.out() == "ENOSYS\n", "not here")?
        .claim(finished.err().is_empty(), "nothing to tell")?;
    Ok(())
}

/// Where tasks inside are not told from those outside, 0 is the caller, and so is its own number.
fn who_names_itself_schedules_itself() -> Verdict {
    let fence = fence()?.and(["--engine", "fallback", "--best-effort", "all"]);
    let (nice, prlimit) = (libc::SYS_setpriority, libc::SYS_prlimit64);
    let (process, group) = (libc::PRIO_PROCESS, libc::PRIO_PGRP);
    let tried = [
        format!("own {nice} 1 {process} 0 5"),
        format!("own {prlimit} 0 0 {} 0 0", libc::RLIMIT_NOFILE),
        format!("own {nice} 1 {group} 0 5"),
    ];
    let finished = acts(&fence, &tried).run()?;
    let own = "ok,ok,ok,ok,EPERM,EPERM,EPERM,EPERM\n";
    let none = "EPERM,EPERM,EPERM,EPERM,EPERM,EPERM,EPERM,EPERM\n";
    finished.claim(
        finished.out() == [own, own, none].concat(),
        "by its own numbers alone, and no group",
    )?;
    // The group's eight are of one kind with the parent and the first one.
    finished
        .complains("system-call setpriority  (10 times)")?
        .complains("system-call prlimit64  (2 times)")?
        .claim(
            !finished.err().contains("another task"),
            "the profile has nothing against another task of the fence, or one that has ended",
        )?;
    let listed = fence.and(["--syscalls", LISTED]);
    let finished = acts(&listed, &tried[..1]).run()?;
    finished.claim(finished.out() == none, "nothing that is not listed")?;
    Ok(())
}

fn a_flood_is_told_once_and_counted() -> Verdict {
    let fence = fence()?.and(["--syscalls", LISTED, "--events", "own/events"]);
    // Numbers of no call, where 32-bit ARM has its own ones: the list refuses each.
    let tried = [
        format!("times 2000 {KEYS} 0 -3 0"),
        "numbers 1048576 3000".to_owned(),
    ];
    let finished = acts(&fence, &tried).run()?;
    let events = std::fs::read_to_string(fence.at("own/events"))?;
    finished
        .claim(finished.out() == "EPERM\nEPERM\n", "all are refused")?
        .complains("system-call keyctl  (2000 times)")?
        .complains("denials more of further kinds")?
        .claim(events.lines().count() <= 1024, "each kind told once")?;
    Ok(())
}

fn without_a_supervisor_all_is_refused() -> Verdict {
    let fence = fence()?;
    let own = fence.at("own");
    let act = format!(
        "orphaned {} {} {KEYS} 0 -3 0",
        own.display(),
        libc::SYS_seccomp
    );
    let mut command = acts(&fence, &[act]).command();
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut supervisor = command.spawn()?;
    let appears = |name: &str| {
        let (start, path) = (Instant::now(), own.join(name));
        while !path.exists() {
            if start.elapsed() > PATIENCE {
                return Err(Failed::from(format!("{name} does not appear")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(std::fs::read_to_string(path)?)
    };
    appears("ready")?;
    supervisor.kill()?;
    supervisor.wait()?;
    std::fs::write(own.join("go"), "")?;
    match &appears("end")?[..] {
        "ENOSYS EBUSY ENOSYS" => Ok(()),
        other => Err(other.to_owned().into()),
    }
}

fn below_another_listener_the_filter_refuses_alone() -> Verdict {
    let fence = fence()?;
    let tried = [format!("call {KEYS} 0 -3 0")];
    let run = acts(&fence, &tried).command();
    let output = Command::new(PYTHON)
        .args(["-IS", CALLS, "below"])
        .arg(libc::SYS_seccomp.to_string())
        .arg(binary())
        .args(run.get_args())
        .current_dir(fence.folder().path())
        .env("XDG_STATE_HOME", fence.at("trial"))
        .stdin(Stdio::null())
        .output()?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if out != "EPERM\n" || !err.contains("are not told here") {
        return Err(format!("said `{out}`, and `{err}`").into());
    }
    Ok(())
}
