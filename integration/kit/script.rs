//! Scripts that have a `/run` of their own, and with it programs of their own: what they load, kill and break is nobody else's.

use std::process::Command;

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
const PRELUDE: &str = r#"
mount -t tmpfs none /run
# Waits until a command succeeds.
until_() {
    set +x
    for _ in $(seq 2400); do if "$@" > waited 2>&1; then set -x; return 0; fi; sleep 0.05; done
    echo "never: $*" >&2; cat waited >&2; exit 1
}
# A claim in Python about what a file holds in JSON: `j` is the value, or the list of values, one a line.
claim() { python3 -IS -c '
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
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "bash", "-exc"])
        .arg(format!("{PRELUDE}{text}"))
        .current_dir(folder.path())
        .env("R", binary())
        .env("XDG_STATE_HOME", folder.at("state"))
        .output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(told);
    }
    let wrong = String::from_utf8_lossy(&output.stderr);
    Err(format!("ended with {}:\n{told}\n{wrong}", output.status).into())
}
