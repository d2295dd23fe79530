//! Ways into the kernel and to tasks outside: closed inside by the hooks alone, and open outside meanwhile.
//!
//! The attacker enters the fence by its cgroup, as root, with every capability and without a filter of system calls, as
//! the first process of a container would.

use std::process::{Child, Command, Stdio};

use libtest_mimic::Failed;
use ringfence::policy::{
    Automaton, Degradation, FilePolicy, Limits, Mode, NetworkPolicy, Policy, Syscalls,
};
use ringfence::profile::capability;
use ringfence_abi::surface::{self, Surfaces};

use crate::kit::{
    ByHand, DENIED, Fence, Finished, Folder, Need, OK, PYTHON, Ringfence, Standing, Suite, Verdict,
};

const NEEDS: &[Need] = &[Need::Root, Need::BpfLsm];
const ATTACK: &str = "trial/surfaces.py";
/// Paths are no obstacle: what is denied is denied for another reason.
const RULES: &str = r#"read = ["/**"]
write = ["/proc/**", "/sys/**", "/run/**", "/mnt/**", "/tmp/**", "/dev/**"]"#;
/// So that no missing capability denies in the place of a hook.
const CAPABLE: &str = r#"
[process]
capabilities = ["chown", "dac_override", "fowner", "kill", "ipc_owner", "ipc_lock", "net_admin", "sys_module", "sys_chroot",
    "sys_ptrace", "sys_admin", "sys_nice", "sys_resource", "sys_time", "syslog", "perfmon", "bpf"]"#;

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    let mut test = |name, body: fn() -> Verdict| suite.test(name, NEEDS, body);
    test(
        "surfaces::closed_parts_of_the_kernel_are_closed_to_a_capable_root",
        closed_parts_of_the_kernel_are_closed_to_a_capable_root,
    );
    test(
        "surfaces::a_rule_that_meets_a_task_outside_is_kept_and_tells_of_no_denial",
        a_rule_that_meets_a_task_outside_is_kept_and_tells_of_no_denial,
    );
    test(
        "surfaces::a_file_of_procfs_that_is_opened_to_be_made_is_asked_for_what_it_is",
        a_file_of_procfs_that_is_opened_to_be_made_is_asked_for_what_it_is,
    );
    test(
        "surfaces::what_a_profile_opens_is_open_but_the_fences_own_maps",
        what_a_profile_opens_is_open_but_the_fences_own_maps,
    );
    test(
        "surfaces::a_capability_that_is_not_listed_is_not_there",
        a_capability_that_is_not_listed_is_not_there,
    );
    test(
        "surfaces::tasks_outside_are_neither_signalled_nor_scheduled",
        tasks_outside_are_neither_signalled_nor_scheduled,
    );
    test(
        "surfaces::ipc_objects_of_tasks_outside_are_out_of_reach",
        ipc_objects_of_tasks_outside_are_out_of_reach,
    );
    test(
        "surfaces::the_kernels_file_systems_are_not_written",
        the_kernels_file_systems_are_not_written,
    );
}

/// A fence with the attacker's program in it.
fn fence(more: &str) -> Result<Fence, Failed> {
    let fence = Fence::with(&format!("{RULES}{more}"))?;
    fence.folder().file(ATTACK, include_str!("surfaces.py"))?;
    Ok(fence)
}

/// How each act ends inside.
fn inside(fence: &Fence, standing: &Standing, acts: &[&str]) -> Result<Vec<String>, Failed> {
    said(
        standing
            .entered(PYTHON)
            .args(["-IS", ATTACK])
            .args(acts)
            .current_dir(fence.folder().path()),
    )
}

/// How each act ends outside of every fence.
fn outside(fence: &Fence, acts: &[&str]) -> Result<Vec<String>, Failed> {
    said(
        Command::new(PYTHON)
            .args(["-IS", ATTACK])
            .args(acts)
            .current_dir(fence.folder().path())
            .stdin(Stdio::null()),
    )
}

fn said(command: &mut Command) -> Result<Vec<String>, Failed> {
    let output = command.output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{command:?} ended with {}: {error}", output.status).into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(str::to_owned).collect())
}

/// Each act ends as expected.
fn agree(place: &str, acts: &[&str], ended: &[String], expected: &[&str]) -> Verdict {
    let wrong: Vec<_> = acts
        .iter()
        .zip(ended)
        .zip(expected)
        .filter(|((_, ended), expected)| ended != *expected)
        .map(|((act, ended), expected)| format!("`{act}`: {ended}, not {expected}"))
        .collect();
    if wrong.is_empty() && ended.len() == acts.len() {
        return Ok(());
    }
    Err(format!(
        "{place}: {} ({} of {} ended)",
        wrong.join("; "),
        ended.len(),
        acts.len()
    )
    .into())
}

/// Inside a fence of this policy every act is denied, while outside each ends as said.
fn denied_inside_only(more: &str, acts: &[(&str, &str)]) -> Verdict {
    let fence = fence(more)?;
    let standing = Standing::of(&fence, &[])?;
    let (names, fine): (Vec<_>, Vec<_>) = acts.iter().copied().unzip();
    let tried = inside(&fence, &standing, &names);
    let meanwhile = outside(&fence, &names);
    standing.end()?;
    agree("inside", &names, &tried?, &vec![DENIED; names.len()])?;
    agree("outside", &names, &meanwhile?, &fine)
}

/// Each with how it ends outside of every fence.
const PARTS: &[(&str, &str)] = &[
    ("userns", OK),
    ("mount", OK),
    ("unmount", OK),
    ("remount", OK),
    ("by-parts", OK),
    ("move", OK),
    ("pivot", OK),
    ("chroot", OK),
    ("bpf-map", OK),
    ("bpf-by-number", OK),
    ("perf", OK),
    ("module-memory", "ENOEXEC"),
    ("module-file", "ENOEXEC"),
    ("key", OK),
    ("clock", OK),
    ("log", OK),
    ("quota", OK),
    ("ring", OK),
    ("device", OK),
    ("page-faults", OK),
    ("inet", OK),
    ("netlink", OK),
    ("device-events", OK),
];

fn closed_parts_of_the_kernel_are_closed_to_a_capable_root() -> Verdict {
    denied_inside_only(CAPABLE, PARTS)
}

/// All but one: maps that are there are never handed out by number, since the fence's own are among them.
fn what_a_profile_opens_is_open_but_the_fences_own_maps() -> Verdict {
    let all = surface::ALL.iter();
    let fence = ByHand::new(&Policy {
        profile: "open".to_owned(),
        files: FilePolicy {
            mode: Mode::Off,
            automaton: Automaton::deny_all(),
            ..FilePolicy::default()
        },
        network: NetworkPolicy::off(),
        capabilities: capability::NAMES.map(str::to_owned).to_vec(),
        kernel: all.fold(Surfaces::NONE, |all, one| all.union(one.bit)),
        syscalls: Syscalls::Default,
        privilege_gain: true,
        programs: Vec::new(),
        limits: Limits::default(),
        degradation: Degradation::default(),
    })?;
    let folder = Folder::new()?;
    let attack = folder.file(ATTACK, include_str!("surfaces.py"))?;
    let mut victim = Victim::new()?;
    let (mut names, mut ends): (Vec<_>, Vec<_>) = PARTS
        .iter()
        .map(|&(name, end)| (name, if name == "bpf-by-number" { DENIED } else { end }))
        .unzip();
    let number = victim.0.id();
    let others = [
        "nice @",
        "limit @",
        "write /proc/@/oom_score_adj",
        "signals-to @",
    ]
    .map(|act| act.replace('@', &number.to_string()));
    names.extend(others.iter().map(String::as_str));
    ends.extend([OK; 4]);
    names.extend([
        "host-name",
        "write /proc/sysrq-trigger",
        "write /proc/self/mem",
    ]);
    ends.extend([OK; 3]);
    let ended = said(fence.entered(PYTHON).arg("-IS").arg(attack).args(&names));
    fence.end()?;
    agree("inside", &names, &ended?, &ends)?;
    victim.0.wait()?;
    Ok(())
}

fn a_capability_that_is_not_listed_is_not_there() -> Verdict {
    denied_inside_only("", &[("host-name", OK), ("mount", OK), ("clock", OK)])?;
    // The same act with the capability listed: it was the mask that denied.
    let fence = fence(CAPABLE)?;
    let standing = Standing::of(&fence, &[])?;
    let tried = inside(&fence, &standing, &["host-name"]);
    standing.end()?;
    agree("inside", &["host-name"], &tried?, &[OK])
}

/// A process outside that does nothing; its end is the end of the test's.
struct Victim(Child);

impl Victim {
    fn new() -> Result<Self, Failed> {
        Ok(Self(Command::new("sleep").arg("600").spawn()?))
    }

    fn is_alive(&mut self) -> Result<bool, Failed> {
        Ok(self.0.try_wait()?.is_none())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Each act gets a victim of its own, whose number stands for `@`.
fn tasks_outside_are_neither_signalled_nor_scheduled() -> Verdict {
    const DEADLY: [&str; 4] = [
        "signals-to @",
        "signals-by-pointer-to @",
        "signals-by-control-to @",
        "kill @",
    ];
    const HARMLESS: [&str; 6] = [
        "nice @",
        "affinity @",
        "io-priority @",
        "limit @",
        "move-pages @",
        "write /proc/@/oom_score_adj",
    ];
    let fence = fence(CAPABLE)?;
    let standing = Standing::of(&fence, &[])?;
    let tried = try_on_victims(&fence, &standing, &DEADLY, &HARMLESS);
    let own = inside(
        &fence,
        &standing,
        &[
            "own-signals",
            "nice 0",
            "affinity 0",
            "limit 0",
            "write /proc/self/oom_score_adj",
            "write /proc/self/mem",
        ],
    );
    standing.end()?;
    tried?;
    let fine = [OK, OK, OK, OK, OK, DENIED];
    agree("to itself", &["", "", "", "", "", ""], &own?, &fine)
}

fn try_on_victims(
    fence: &Fence,
    standing: &Standing,
    deadly: &[&str],
    harmless: &[&str],
) -> Verdict {
    for act in deadly.iter().chain(harmless) {
        let mut victim = Victim::new()?;
        let act_on_it = act.replace('@', &victim.0.id().to_string());
        let acts = [act_on_it.as_str()];
        agree("inside", &acts, &inside(fence, standing, &acts)?, &[DENIED])?;
        std::thread::sleep(std::time::Duration::from_millis(100));
        if !victim.is_alive()? {
            return Err(format!("`{act}` from inside ended its victim").into());
        }
        agree("outside", &acts, &outside(fence, &acts)?, &[OK])?;
        let dies = deadly.contains(act);
        if dies {
            victim.0.wait()?;
        } else if !victim.is_alive()? {
            return Err(format!("`{act}` from outside ended its victim").into());
        }
    }
    Ok(())
}

fn ipc_objects_of_tasks_outside_are_out_of_reach() -> Verdict {
    let key = 0x5249_0000 + std::process::id() % 0xffff;
    let (make, find) = (format!("memory-make {key}"), format!("memory-at {key}"));
    let name = format!("ringfence-{}", std::process::id());
    let (queue, open, remove) = (
        format!("queue-make {name}"),
        format!("queue-open {name}"),
        format!("queue-remove {name}"),
    );
    let fence = fence(CAPABLE)?;
    agree(
        "outside",
        &[&make, &queue],
        &outside(&fence, &[&make, &queue])?,
        &[OK, OK],
    )?;
    let segment = segment(key)?;
    let (attach, destroy) = (
        format!("memory-attach {segment}"),
        format!("memory-remove {segment}"),
    );
    let acts = [find.as_str(), &attach, &destroy, &open, &remove];
    let standing = Standing::of(&fence, &[])?;
    let tried = inside(&fence, &standing, &acts);
    let own = inside(&fence, &standing, &["ipc"]);
    standing.end()?;
    let opened = self::fence(&format!("{CAPABLE}\n[kernel]\nallow = [\"ipc\"]\n"))?;
    let standing = Standing::of(&opened, &[])?;
    let reached = inside(&opened, &standing, &acts[..2]);
    let found = inside(&opened, &standing, &[&open]);
    standing.end()?;
    // This also removes what was made.
    let meanwhile = outside(&fence, &[&find, &attach, &open, &remove, &destroy]);
    agree("inside", &acts, &tried?, &[DENIED; 5])?;
    agree("its own", &["ipc"], &own?, &[OK])?;
    agree("opened", &acts[..2], &reached?, &[OK; 2])?;
    agree("opened", &[&open], &found?, &[OK])?;
    agree("outside", &acts, &meanwhile?, &[OK; 5])
}

/// The number of the segment with this key.
fn segment(key: u32) -> Result<String, Failed> {
    let list = std::fs::read_to_string("/proc/sysvipc/shm")?;
    let mut lines = list.lines().map(|line| line.split_whitespace());
    let found = lines.find_map(|mut words| {
        let same = words.next()? == key.to_string();
        same.then(|| words.next()).flatten().map(str::to_owned)
    });
    found.ok_or_else(|| format!("no segment has the key {key}: {list}").into())
}

fn the_kernels_file_systems_are_not_written() -> Verdict {
    let fence = fence(CAPABLE)?;
    let standing = Standing::of(&fence, &[])?;
    let group = standing.cgroup().display().to_string();
    let trial = format!("trial-{}", std::process::id());
    let acts: Vec<String> = vec![
        format!("write {group}/cgroup.procs"),
        format!("mkdir {group}/below"),
        "write /proc/sys/kernel/core_pattern".to_owned(),
        "write /proc/sysrq-trigger".to_owned(),
        "write /proc/self/mem".to_owned(),
        "write /sys/kernel/mm/transparent_hugepage/enabled".to_owned(),
        // What holds the fences, one a directory of a BPF file system and one beside it.
        format!("mkdir /run/ringfence/bpf/{trial}"),
        format!("mkdir /run/ringfence/{trial}"),
    ];
    let names: Vec<&str> = acts.iter().map(String::as_str).collect();
    let tried = inside(&fence, &standing, &names);
    let reading = inside(&fence, &standing, &["read /proc/sys/kernel/core_pattern"]);
    let meanwhile = outside(&fence, &names);
    let removals = [
        format!("rmdir {group}/below"),
        format!("rmdir /run/ringfence/bpf/{trial}"),
        format!("rmdir /run/ringfence/{trial}"),
    ];
    let removals: Vec<&str> = removals.iter().map(String::as_str).collect();
    let tidied = outside(&fence, &removals);
    standing.end()?;
    agree("inside", &names, &tried?, &vec![DENIED; names.len()])?;
    agree("inside", &["reading"], &reading?, &[OK])?;
    agree("outside", &names, &meanwhile?, &vec![OK; names.len()])?;
    agree("outside", &removals, &tidied?, &[OK; 3])
}

/// A shell behind the default profile and one rule more.
fn shell(rule: [&str; 2], script: &str) -> Result<Finished, Failed> {
    let run = ["run", rule[0], rule[1], "--", "sh", "-c", script];
    Ringfence::with(run).run()
}

/// As who lists processes does.
fn a_rule_that_meets_a_task_outside_is_kept_and_tells_of_no_denial() -> Verdict {
    let script =
        "head -c1 /proc/1/stat && echo read; head -c1 /proc/$$/stat > /dev/null && echo own";
    let finished = shell(["--read", "/proc/[0-9]*/stat"], script)?;
    finished
        .succeeds()?
        .claim(finished.out() == "own\n", "its own alone")?
        .claim(!finished.err().contains("ringfence:"), "no denial is told")?;
    Ok(())
}

/// Whoever opens by `O_CREAT` is first asked as if the file were made; here it is there already, and nothing can be made.
fn a_file_of_procfs_that_is_opened_to_be_made_is_asked_for_what_it_is() -> Verdict {
    let rule = ["--write", "/proc/[0-9]*/oom_score_adj"];
    let own = shell(
        rule,
        "echo 7 > /proc/self/oom_score_adj; cat /proc/$$/oom_score_adj",
    )?;
    own.succeeds()?
        .claim(own.out() == "7\n", "it is set")?
        .claim(!own.err().contains("ringfence:"), "no denial is told")?;
    shell(rule, "echo 7 > /proc/1/oom_score_adj")?.fails()?;
    shell(rule, "echo 7 > /proc/sys/vm/swappiness")?.fails()?;
    Ok(())
}
