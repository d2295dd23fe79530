//! The programs in the kernel, before the first fence and after the last. Each test has a `/run` of its own, and with it
//! programs of its own.

use crate::kit::{Need, Suite, script};

const NEEDS: &[Need] = &[Need::Root, Need::Cgroup, Need::Program("unshare")];

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "load::programs_are_loaded_once_and_stay_while_a_fence_needs_them",
        NEEDS,
        || script(STAYING),
    );
    suite.test(
        "load::no_fence_is_made_of_programs_that_are_gone",
        NEEDS,
        || script(GONE),
    );
}

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
