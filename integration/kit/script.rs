//! Scripts that have a `/run` of their own, and with it programs of their own: what they load, kill and break is nobody else's.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Folder, Need, Verdict, binary};

/// What such a script takes.
pub(crate) const OWN_RUN: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Program("unshare"),
    Need::Program("python3"),
];
/// The same, for what is tried on hosts only: programs are loaded anew in each `/run`, half a minute where a processor is emulated.
pub(crate) const OWN_RUN_ON_HOSTS: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Processor,
    Need::Program("unshare"),
    Need::Program("python3"),
];

/// For every script: the binary is `$R`, and these are at hand.
pub(crate) const PRELUDE: &str = r#"
mount -t tmpfs none /run
# Waits until a command succeeds.
until_() {
    set +x
    for _ in $(seq 2400); do if "$@" > waited 2>&1; then set -x; return 0; fi; sleep 0.05; done
    echo "never: $*" >&2; cat waited >&2; exit 1
}
# A claim in Python about what a file holds in JSON: `j` is the value, or the list of values, one a line.
claim() { /usr/bin/python3 -IS -c '
import json, sys
text = open(sys.argv[1]).read()
try: j = json.loads(text)
except ValueError: j = [json.loads(line) for line in text.splitlines()]
assert eval(sys.argv[2]), sys.argv[2] + "\n" + text' "$1" "$2"; }
"#;

/// Runs the script in bash, in an empty folder and a mount namespace of its own; it fails as soon as a command fails.
pub(crate) fn script(text: &str) -> Verdict {
    told_by(text).map(drop)
}

/// The same, and what it said on standard output.
pub(crate) fn told_by(text: &str) -> Result<String, libtest_mimic::Failed> {
    let folder = Folder::new()?;
    // Files: a pipe would end with the last of what a script that failed has left running, which may be never.
    let (mut told, mut wrong) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "bash", "-exc"])
        .arg(format!("{PRELUDE}{text}"))
        .current_dir(folder.path())
        .env("R", binary())
        .env("XDG_STATE_HOME", folder.at("state"))
        .stdin(Stdio::null())
        .stdout(told.try_clone()?)
        .stderr(wrong.try_clone()?)
        .status()?;
    if !status.success() {
        end_those_of(&folder);
    }
    let (told, wrong) = (whole(&mut told)?, whole(&mut wrong)?);
    if status.success() {
        return Ok(told);
    }
    Err(format!("ended with {status}:\n{told}\n{wrong}").into())
}

fn whole(file: &mut File) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Ends what a script has left running: whatever has the folder, which is this script's alone, in its environment.
///
/// A process that executes another program has none for a moment (`environ_read` in fs/proc/base.c of Linux 6.12): it is looked at again.
fn end_those_of(folder: &Folder) {
    let folder = folder.path().as_os_str().as_encoded_bytes();
    for _ in 0..100 {
        let mut between = false;
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = process.file_name();
            let Some(number) = name.to_str().filter(|number| executes(number)) else {
                continue;
            };
            let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
            if holds(&environment, folder)
                && let Ok(number) = number.parse()
            {
                kill(Pid::from_raw(number), Signal::SIGKILL).ok();
            }
            between |= environment.is_empty();
        }
        if !between {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// That a script which fails is a failure at once, and leaves nothing running, not even what is always about to be another program.
pub(super) fn ends_what_it_left() -> Verdict {
    let failed = told_by(
        r#"
export AGAIN='exec sh -c "$AGAIN"'
for _ in $(seq 20); do sh -c "$AGAIN" & echo left $!; done
false"#,
    )
    .err();
    let told = failed.as_ref().and_then(|failed| failed.message());
    let left: Vec<&str> = told
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.strip_prefix("left "))
        .collect();
    if left.len() != 20 {
        return Err(format!("was told {told:?}").into());
    }
    // They die on their way out of what they do.
    for _ in 0..100 {
        if left.iter().all(|number| !executes(number)) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("some of {left:?} still run").into())
}

/// Whether a process executes a program: the kernel's own do not, and what has ended does not.
fn executes(number: &str) -> bool {
    std::fs::read_link(format!("/proc/{number}/exe")).is_ok()
}
