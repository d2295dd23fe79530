//! What a machine goes through when a fence that allows everything holds tasks that do everything: the kernel has
//! nothing to complain of.

use std::fs;

use ringfence_abi::surface;

use crate::kit::{Folder, Need, Ringfence, Suite, Verdict};

/// How long each stressor works. A judge sets it to 60.
const SECONDS: &str = "RINGFENCE_STRESS_SECONDS";
/// What a kernel says of itself when something is wrong.
///
/// A stall of RCU is not among them: it says that a kernel thread was not run for some time, which real-time stressors on
/// emulated processors bring about, without any fence too (seen with 7.3). Who is at fault stands in what follows it, and that may not be a program of a fence.
const COMPLAINTS: [&str; 7] = [
    "WARNING:",
    "BUG:",
    "Oops",
    "general protection",
    "blocked for more than",
    "soft lockup",
    " bpf_prog_",
];
/// Bits of `/proc/sys/kernel/tainted` (Documentation/admin-guide/tainted-kernels.rst): died, warned, locked up.
const TAINTS: u64 = 1 << 7 | 1 << 9 | 1 << 14;

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "stress::a_kernel_has_nothing_to_complain_of",
        &[Need::Root, Need::BpfLsm, Need::Program("stress-ng")],
        a_kernel_has_nothing_to_complain_of,
    );
}

fn a_kernel_has_nothing_to_complain_of() -> Verdict {
    let seconds = std::env::var(SECONDS).unwrap_or_else(|_| "5".to_owned());
    let folder = Folder::new()?;
    let profile = folder.file("permissive.toml", &permissive()?)?;
    let before = complaints()?;
    // What is started by name of a class runs one after the other; all at once is what meets itself.
    let finished = Ringfence::with([
        "run",
        "--engine",
        "bpf-lsm",
        "--best-effort",
        "limits",
        "-p",
    ])
    .and([profile])
    .and([
        "--",
        "stress-ng",
        "--class",
        "filesystem,network,scheduler",
        "--all",
        "1",
        "--timeout",
    ])
    .and([seconds])
    .in_folder(folder.path())
    .run()?;
    let after = complaints()?;
    // Its own exit code is about what the machine lacks; that it came to its end is what counts.
    finished.complains("run completed")?;
    finished.claim(
        before == after,
        &format!("no more complaints of the kernel than {before:?}: {after:?}"),
    )?;
    every_run_was_made()
}

/// That the kernel has left out no run of a hook's program, whether it is one that may or not.
fn every_run_was_made() -> Verdict {
    let metrics = Ringfence::with(["metrics"]).run()?;
    let told = metrics.succeeds()?.out();
    let judges: Vec<&str> = told
        .lines()
        .filter(|line| line.starts_with(r#"ringfence_missed_total{version="judge-"#))
        .collect();
    metrics.claim(
        !judges.is_empty() && judges.iter().all(|line| line.ends_with("} 0")),
        "no run left out",
    )?;
    Ok(())
}

/// A profile that allows everything there is to allow.
fn permissive() -> Result<String, libtest_mimic::Failed> {
    let quoted = |names: &mut dyn Iterator<Item = String>| {
        let names: Vec<_> = names.map(|name| format!("\"{name}\"")).collect();
        names.join(", ")
    };
    let capabilities = caps::read(None, caps::CapSet::Effective)?;
    let mut capabilities = capabilities
        .iter()
        .map(|one| one.to_string().trim_start_matches("CAP_").to_lowercase());
    let mut surfaces = surface::ALL.iter().map(|surface| surface.name.to_owned());
    Ok(format!(
        r#"version = 1
name = "permissive"
[files]
read = ["/**"]
write = ["/**"]
exec = ["/**"]
[network]
mode = "off"
[process]
allow-privilege-gain = true
capabilities = [{}]
[kernel]
allow = [{}]
"#,
        quoted(&mut capabilities),
        quoted(&mut surfaces),
    ))
}

/// Lines of the kernel's log that complain, and the bits that say it did.
fn complaints() -> Result<(Vec<String>, u64), libtest_mimic::Failed> {
    let output = std::process::Command::new("dmesg").output()?;
    let log = String::from_utf8_lossy(&output.stdout);
    let lines = log
        .lines()
        .filter(|line| COMPLAINTS.iter().any(|one| line.contains(one)))
        .map(str::to_owned)
        .collect();
    let tainted: u64 = fs::read_to_string("/proc/sys/kernel/tainted")?
        .trim()
        .parse()?;
    Ok((lines, tainted & TAINTS))
}
