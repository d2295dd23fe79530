//! The programs in the kernel, before the first fence and after the last. Each test has a `/run` of its own, and with it
//! programs of its own.

use std::process::Command;

use crate::kit::{Folder, Need, Suite, Verdict, binary};

const NEEDS: &[Need] = &[Need::Root, Need::Cgroup, Need::Program("unshare")];

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "load::programs_are_loaded_once_and_stay_while_a_fence_needs_them",
        NEEDS,
        || script(STAYING),
    );
    suite.test(
        "load::recordings_share_programs_and_leave_none_on_tracepoints",
        NEEDS,
        || script(RECORDING),
    );
    suite.test(
        "load::no_fence_is_made_of_programs_that_are_gone",
        NEEDS,
        || script(GONE),
    );
}

/// What is on tracepoints costs every system call of the host: it must not outlive the recording, and at most until the next run
/// a recorder that was killed.
const RECORDING: &str = r#"
on_tracepoints() { ls /run/ringfence/bpf/*/ | grep -cE 'link_record_(enter|exit|made|succeeded)$' || true; }
$R load
[ "$(on_tracepoints)" = 0 ]
mkfifo end
$R learn -o one -- sh -c ': > ready; cat end' &
until [ -e ready ]; do sleep 0.1; done
[ "$(on_tracepoints)" = 2 ]
if $R unload; then echo 'unloaded under a recording' >&2; exit 1; fi
$R learn -o two -- true
[ "$(on_tracepoints)" = 2 ]
: > end
wait $!
[ "$(on_tracepoints)" = 0 ]
$R learn -o three -- sh -c 'echo $$ > child; exec sleep 600' &
until [ -s child ]; do sleep 0.1; done
kill -9 $!
wait $! || true
[ "$(on_tracepoints)" = 2 ]
$R run -- true
[ "$(on_tracepoints)" = 0 ]
kill $(cat child)
$R unload
"#;

const STAYING: &str = r#"
$R load > first
grep -q 'loaded in' first
$R load > second
grep -q 'loaded already' second
mkfifo end
$R run --read "$PWD" --write "$PWD" -- sh -c ': > ready; cat end' &
until [ -e ready ]; do sleep 0.1; done
if $R unload; then echo 'unloaded under a fence' >&2; exit 1; fi
: > end
wait $!
$R unload > third
grep -q '^unloaded' third
$R unload > fourth
grep -q 'nothing is loaded' fourth
"#;

/// A run that has found the programs waits for a reader of its events.
const GONE: &str = r#"
$R load
mkfifo events
$R run --events events -- touch started 2> told &
pid=$!
until ls -l /proc/$pid/fd 2> /dev/null | grep -q 'bpf-map'; do sleep 0.1; done
$R unload
$R load
cat events > /dev/null &
code=0
wait $pid || code=$?
[ $code = 125 ]
grep -q 'unloaded while the fence was set up' told
[ ! -e started ]
"#;

fn script(text: &str) -> Verdict {
    let folder = Folder::new()?;
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "bash", "-exc"])
        .arg(format!("mount -t tmpfs none /run\n{text}"))
        .current_dir(folder.path())
        .env("R", binary())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("ended with {}:\n{told}", output.status).into())
}
