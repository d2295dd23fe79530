//! The places that a fence uses go away, are full, or cannot be written.

use super::script;
use crate::kit::{OWN_RUN, OWN_RUN_ON_HOSTS, Suite};

pub(super) fn register(suite: &mut Suite) {
    suite.test(
        "faults::a_fence_stands_without_its_bpf_filesystem",
        OWN_RUN,
        || script(UNMOUNTED, &[]),
    );
    for (name, text) in [
        (
            "faults::a_cgroup_that_somebody_removes_is_nobodys_error",
            REMOVED,
        ),
        (
            "faults::a_full_disk_under_the_file_of_events_is_said_and_ends_nothing",
            FULL,
        ),
        (
            "faults::where_run_cannot_be_written_a_fence_stands_or_nothing_starts",
            READ_ONLY,
        ),
        ("faults::the_hosts_bpf_filesystem_is_not_needed", WITHOUT),
    ] {
        suite.test(name, OWN_RUN_ON_HOSTS, move || script(text, &[]));
    }
}

/// The fence that stands keeps what holds it; the next one makes a filesystem and programs of its own beside it.
const UNMOUNTED: &str = r#"
fence & run=$!
until_ [ -e ready ]
[ "$(ask)" = 1 ]
umount --lazy /run/ringfence/bpf
[ "$(ask)" = 1 ]
code=0; $R run -q -- cat /etc/shadow || code=$?
[ $code = 1 ]
[ "$(ask)" = 1 ]
echo end > ask
code=0; wait $run || code=$?
[ $code = 7 ]
until_ nothing_is_left
echo 'unmounted under a fence: it held, and so did the next one'
"#;

/// The supervisor is held while the command ends and the cgroup goes.
const REMOVED: &str = r#"
fence & run=$!
until_ [ -e ready ]
group=$($R ps --json | /usr/bin/python3 -IS -c 'import json, sys; print(json.load(sys.stdin)[0]["cgroup"])')
kill -STOP $run
echo end > ask
until_ rmdir "$group"
kill -CONT $run
code=0; wait $run || code=$?
[ $code = 7 ]
until_ nothing_is_left
echo 'cgroup removed before its supervisor did: the exit code is the command'"'"'s'
"#;

const FULL: &str = r#"
mkdir full
mount -t tmpfs -o size=4k none full
code=0
$R run --events full/events --read "$PWD" -- sh -c '
    for n in $(seq 100); do cat /etc/shadow 2> /dev/null && exit 1; done; exit 7' 2> told || code=$?
cat told >&2
[ $code = 7 ]
grep -q 'the file of events cannot be written any more: No space left' told
grep -q 'open.*/etc/shadow' told
umount full
rmdir full
until_ nothing_is_left
echo 'disk full under the file of events: said, and the command went on, fenced'
"#;

const READ_ONLY: &str = r#"
for loaded in no yes; do
    mount -o remount,ro /run
    code=0
    $R run --read "$PWD" -- sh -c 'cat /etc/shadow && exit 0; exit 7' 2> told || code=$?
    cat told >&2
    mount -o remount,rw /run
    case $code in
        7) grep -q 'Read-only file system' told;;
        125) grep -q 'Read-only file system' told;;
        *) exit 1;;
    esac
    echo "/run read-only, loaded before: $loaded: exit code $code, said"
    $R run -q -- true
done
until_ nothing_is_left
"#;

const WITHOUT: &str = r#"
umount --lazy /sys/fs/bpf || true
mounts > mounts-before
fence & run=$!
until_ [ -e ready ]
[ "$(ask)" = 1 ]
echo end > ask
code=0; wait $run || code=$?
[ $code = 7 ]
until_ nothing_is_left
echo 'without /sys/fs/bpf: no difference'
"#;
