//! A supervisor is killed, wherever it is.

use super::script;
use crate::kit::{Need, OWN_RUN_ON_HOSTS, Suite};

const SWEEP: &str = include_str!("sweep.py");
const RESOLVED: &str = include_str!("resolved.py");
const IN_NETWORK: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Processor,
    Need::Program("unshare"),
    Need::Program("python3"),
    Need::Program("ip"),
];

pub(super) fn register(suite: &mut Suite) {
    suite.test(
        "faults::a_supervisor_that_is_killed_at_any_moment_leaves_a_fence_or_nothing",
        OWN_RUN_ON_HOSTS,
        || script(WARM, &[("sweep.py", SWEEP)]),
    );
    suite.test(
        "faults::a_loader_that_is_killed_at_any_moment_leaves_a_fence_or_nothing",
        OWN_RUN_ON_HOSTS,
        || script(COLD, &[("sweep.py", SWEEP)]),
    );
    suite.test(
        "faults::without_its_resolver_a_fence_reaches_nobody_else",
        IN_NETWORK,
        || script(RESOLVER, &[("resolved.py", RESOLVED)]),
    );
}

const WARM: &str = "
/usr/bin/python3 -IS sweep.py 30
until_ nothing_is_left
";

const COLD: &str = "
# Killed before it had pinned anything, by hand: the sweep finds this moment one time in many.
$R run -q -- true
mkdir /run/ringfence/bpf/watch-unfinished
$R unload
/usr/bin/python3 -IS sweep.py 10 cold
until_ nothing_is_left
$R unload
[ -z \"$(find /run/ringfence/bpf -mindepth 1 -type d)\" ]
";

/// The resolver is a part of its supervisor, and dies with it. Names and servers are this script's own.
const RESOLVER: &str = r#"
echo '127.0.0.1 allowed.test' > hosts
printf 'nameserver 127.0.0.53\noptions timeout:1 attempts:1\n' > servers
mount --bind hosts /etc/hosts
mount --bind servers /etc/resolv.conf
cat > profile.toml <<END
version = 1
name = "resolved"
extends = ["base", "python"]
[files]
read = ["$PWD/**"]
deny = ["/etc/hosts"]
write = ["$PWD/**"]
[network]
connect = ["allowed.test:1-65535"]
END
$R run -p ./profile.toml -- /usr/bin/python3 -IS resolved.py & run=$!
until_ [ -s asked ]
kill -9 $run
: > killed
until_ [ -e result ]
cat result
grep -qx 'before: resolved' result
grep -qx 'after: not resolved' result
grep -qx 'address: denied' result
umount /etc/hosts /etc/resolv.conf
until_ nothing_is_left
"#;
