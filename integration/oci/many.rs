//! Many containers in a row.

use std::fs;

use super::bundle::Bundle;
use crate::kit::{Need, Suite, Verdict, script};

/// In emulated machines each start takes seconds.
const NEEDS: &[Need] = &[
    Need::Root,
    Need::Landlock,
    Need::Cgroup,
    Need::Processor,
    Need::Program("runc"),
    Need::Program("busybox"),
    Need::Program("unshare"),
    Need::Program("python3"),
];

pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "oci::two_hundred_in_a_row_leave_nothing_behind",
        NEEDS,
        two_hundred,
    );
}

/// With a `/run` of their own, so that pins and records are theirs alone, and a program of their own, so that processes are. Maps that stay
/// for the next fence of a number are not counted one by one: which number it has depends on how soon the kernel forgets the last.
const ROW: &str = r#"
cp "$R" own; ln -s own ringfence-runc
./own oci install podman --root host >/dev/null; cp host/usr/local/bin/ringfence-hook .
present() {
    find /run/ringfence /run/runc -mindepth 1 ! -path '/run/ringfence/log/*' ! -name 'kept_*' | sort
    cut -d' ' -f5- /proc/self/mountinfo | sort
    find /sys/fs/cgroup -path '*ringfence-row*'
    for one in /proc/[0-9]*; do [ "$(readlink $one/exe)" != "$PWD/own" ] || echo "process ${one#/proc/}"; done
}
kept() { find /run/ringfence/bpf -name 'kept_*' | wc -l; }
one() {
    cp bare.json bundle/config.json
    [ "$(./ringfence-runc run --bundle bundle ringfence-row-$1)" = unwritten ]
}
alone() { ! present | grep -q ^process; }
set +x
for number in $(seq 10); do one $number; done
until_ alone
present > first
for number in $(seq 11 200); do one $number; done
until_ alone
present > last
set -x
diff first last
grep -q complete last
[ $(find /run/ringfence/log -type f | wc -l) -le 150 ]
[ $(kept) -gt 0 ]; [ $(kept) -le 24 ]
"#;

fn two_hundred() -> Verdict {
    let bundle = Bundle::of("runc", "echo x 2>/dev/null >/data/made || echo unwritten")?
        .with(|value| value["linux"]["cgroupsPath"] = "/ringfence-row".into())?;
    let bare = bundle.path().join("bare.json");
    fs::copy(bundle.path().join("config.json"), &bare)?;
    let place = bundle.path().display();
    script(&format!(
        "cp {place}/bare.json .\nln -s {place} bundle\n{ROW}"
    ))
}
