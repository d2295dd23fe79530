//! Programs with rights of their own: entered by exec, kept by what they start, and by nobody else.
//!
//! The policy is made by hand, so that nothing but the kernel half is asked.

use std::path::Path;

use ringfence::policy::{
    Degradation, FilePolicy, Limits, Mode, NetworkPolicy, Policy, ProgramPolicy, Syscalls,
};
use ringfence_abi::{
    rights::{EXEC, READ, WRITE},
    surface::Surfaces,
};

use crate::kit::{ByHand, Folder, Need, PYTHON, Suite, Verdict, prefixes};

/// The number of the only program, in the place of an accept byte where it stands.
const PROGRAM: u8 = 1 << 3;
const EXPECTED: &str = "\
at large: denied
the tool: content
what it starts: content
what it may not: denied
at large again: denied ok
after an exec that failed: ENOENT denied denied
traced: denied
tracing: denied
";

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "rights::a_program_has_its_own_rights_and_only_by_exec",
        &[Need::Root, Need::BpfLsm, Need::Cgroup],
        a_program_has_its_own_rights_and_only_by_exec,
    );
}

fn a_program_has_its_own_rights_and_only_by_exec() -> Verdict {
    let folder = Folder::new()?;
    folder.file("secret", "content")?;
    folder.file("common", "content")?;
    folder.file("rights.py", include_str!("rights.py"))?;
    folder.script("tool", "#!/bin/sh\nexec \"$@\"\n")?;
    folder.script("broken", "#!/nowhere/at/all\n")?;
    let fence = ByHand::new(&policy(folder.path()))?;
    let output = fence
        .entered(PYTHON)
        .arg("-IS")
        .arg(folder.at("rights.py"))
        .arg(folder.path())
        .output()?;
    let programs: Vec<_> = fence
        .end()?
        .into_iter()
        .filter(|event| event.path.ends_with(b"/common") || event.path.ends_with(b"/secret"))
        .map(|event| (event.program, event.path.ends_with(b"/secret")))
        .collect();
    let said = String::from_utf8_lossy(&output.stdout);
    if said != EXPECTED {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("said:\n{said}not:\n{EXPECTED}and complained:\n{error}").into());
    }
    // Each denial says whose rights it was about.
    let right = programs
        .iter()
        .all(|&(program, secret)| (program == 0) == secret);
    if !right || programs.len() < 5 {
        return Err(format!("programs of the denials: {programs:?}").into());
    }
    Ok(())
}

/// At large all but `secret` may be read; the program may read all but `common`.
fn policy(folder: &Path) -> Policy {
    let at = |name: &str| folder.join(name).display().to_string();
    let here = folder.display().to_string();
    let (tool, broken, secret, common, script) = (
        at("tool"),
        at("broken"),
        at("secret"),
        at("common"),
        at("rights.py"),
    );
    let system = [
        ("/usr/", READ | EXEC),
        ("/lib", READ | EXEC),
        ("/bin/", READ | EXEC),
        ("/etc/", READ),
        ("/dev/", READ | WRITE),
        ("/proc/", READ),
    ];
    let at_large = [
        (here.as_str(), READ),
        (&tool, READ | EXEC | PROGRAM),
        (&broken, READ | EXEC | PROGRAM),
        (&script, READ),
        (&common, READ),
        (&secret, 0),
    ];
    let of_program = [
        (here.as_str(), READ),
        (&tool, READ | EXEC),
        (&secret, READ),
        (&common, 0),
    ];
    let files = |rules: &[(&str, u8)]| FilePolicy {
        mode: Mode::Enforce,
        automaton: prefixes(&[system.as_slice(), rules].concat()),
        ..FilePolicy::default()
    };
    Policy {
        profile: "rights".to_owned(),
        files: files(&at_large),
        network: NetworkPolicy::none(),
        capabilities: vec!["sys_ptrace".to_owned()],
        kernel: Surfaces::NONE,
        syscalls: Syscalls::Default,
        privilege_gain: false,
        programs: vec![ProgramPolicy {
            path: tool.clone(),
            files: files(&of_program),
            network: NetworkPolicy::none(),
            kernel: Surfaces::NONE,
        }],
        limits: Limits::default(),
        degradation: Degradation::default(),
    }
}
