//! The kernel refuses, and two versions of the programs stand side by side.

use super::script;
use crate::kit::{OWN_RUN_ON_HOSTS, Suite};

const REFUSED: &str = include_str!("refused.py");
const OTHER: &str = include_str!("other.py");
pub(super) fn register(suite: &mut Suite) {
    suite.test(
        "faults::whatever_bpf_refuses_a_fence_stands_or_nothing_starts",
        OWN_RUN_ON_HOSTS,
        || script(SWEEP, &[("refused.py", REFUSED)]),
    );
    suite.test(
        "faults::two_versions_stand_side_by_side",
        OWN_RUN_ON_HOSTS,
        || script(SKEW, &[("other.py", OTHER)]),
    );
}

/// Every command of bpf(2) that is used (include/uapi/linux/bpf.h, `enum bpf_cmd`), refused with one error before the programs are loaded,
/// and with the other one after.
const SWEEP: &str = r#"
commands='0 1 2 3 4 5 6 7 8 9 15 17 18 28'
errors='EPERM ENOMEM'
tried=0
for loaded in no yes; do
    for command in $commands; do
        set -- $errors; error=$1; errors="$2 $1"
        if [ $loaded = yes ]; then $R run -q -- true; else rm -f /run/ringfence/refused-*; $R unload > /dev/null; fi
        code=0
        /usr/bin/python3 -IS refused.py $command $error $R run --read "$PWD" -- sh -c 'cat /etc/shadow && exit 0; exit 7' 2> told || code=$?
        case $code in 7|125) ;; *) echo "bpf command $command, $error: $code" >&2; cat told >&2; exit 1;; esac
        [ $code = 7 ] || [ -s told ]
        echo "$loaded $command $error $code" >> codes
        tried=$((tried + 1))
    done
    errors='ENOMEM EPERM'
done
rm -f /run/ringfence/refused-*
until_ nothing_is_left
$R unload
[ -z "$(find /run/ringfence/bpf -mindepth 1 -type d)" ]
echo "bpf() refused in $tried ways: fenced $(grep -c ' 7$' codes), nothing started $(grep -c ' 125$' codes || true), otherwise 0"
"#;

/// The other version differs in a byte of its object that means nothing, and in the digest that names it.
const SKEW: &str = r#"
$R run -q -- true
digest=$(ls /run/ringfence/bpf | sed -n 's/^[a-z]*-v.*-//p' | head -n 1)
/usr/bin/python3 -IS other.py "$R" other "$digest"
fence & run=$!
until_ [ -e ready ]
[ "$(ask)" = 1 ]
code=0; ./other run -q -- cat /etc/shadow || code=$?
[ $code = 1 ]
[ "$(ask)" = 1 ]
./other ps --json > list
claim list 'len(j) == 1 and j[0]["state"] == "standing" and j[0]["denied"] >= 2 and "unknown" not in j[0]'
# Neither takes the other's programs away while a fence needs them.
code=0; ./other unload || code=$?
[ $code = 1 ]
[ "$(ask)" = 1 ]
echo end > ask
code=0; wait $run || code=$?
[ $code = 7 ]
# By turns: neither loads its programs anew.
loaded() { stat -c '%n %i' /run/ringfence/bpf/*/complete; }
loaded > before
[ $(wc -l < before) = 2 ]
for turn in 1 2; do $R run -q -- true; ./other run -q -- true; done
loaded | cmp before
# One that has not been used for long goes when another is.
for records in /run/ringfence/fences/*; do touch -d '1 hour ago' $records; done
$R run -q -- true
[ $(loaded | wc -l) = 1 ]
./other unload
[ -z "$(find /run/ringfence/bpf -mindepth 1 -type d; find /run/ringfence/fences -type f)" ]
until_ nothing_is_left
echo 'two versions: each held its own and left the other alone, and none is left'
"#;
