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
fn end_those_of(folder: &Folder) {
    let folder = folder.path().as_os_str().as_encoded_bytes();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        let number = process.file_name().to_string_lossy().parse();
        if let Ok(number) = number
            && holds(&environment, folder)
        {
            kill(Pid::from_raw(number), Signal::SIGKILL).ok();
        }
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// That a script which fails is a failure at once, and leaves nothing running.
pub(super) fn ends_what_it_left() -> Verdict {
    let failed = told_by("sleep 3600 & echo left $!; false").err();
    let told = failed.as_ref().and_then(|failed| failed.message());
    let number = told.and_then(|told| {
        let mut words = told.split_whitespace();
        words.find(|word| *word == "left")?;
        words.next()
    });
    let Some(number) = number else {
        return Err(format!("was told {told:?}").into());
    };
    let left = || std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
    // It dies on its way out of what it does.
    for _ in 0..100 {
        if left().is_empty() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("{number} still runs").into())
}
