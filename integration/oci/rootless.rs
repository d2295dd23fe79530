//! What cannot be done for a user who is not root is refused, with the reason.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use serde_json::json;

use super::FENCED;
use super::bundle::Bundle;
use crate::kit::{Need, Suite, Verdict, binary, script};

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Program("runc"),
    Need::Program("busybox"),
    Need::Program("setpriv"),
    Need::Program("unshare"),
];

const PODMAN: &[Need] = &[
    Need::Root,
    // It is alike on every kernel.
    Need::Processor,
    Need::Program("podman"),
    Need::Program("conmon"),
    Need::Program("newuidmap"),
    Need::Program("runc"),
    Need::Program("busybox"),
    Need::Program("setpriv"),
    Need::Program("unshare"),
];

pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "oci::podman_of_a_user_says_why_a_container_is_refused",
        PODMAN,
        podman_of_a_user,
    );
    suite.test(
        "oci::a_user_who_is_not_root_is_refused_with_the_reason",
        NEEDS,
        another_user,
    );
    suite.test(
        "oci::root_of_a_user_namespace_is_refused_with_the_reason",
        NEEDS,
        user_namespace,
    );
    suite.test(
        "oci::a_container_in_a_user_namespace_is_fenced",
        FENCED,
        inside,
    );
}

/// As rootless podman calls a runtime: in a user namespace in which it is root, or not even that.
fn called_by(words: &[&str]) -> Verdict {
    let bundle = Bundle::of("ringfence-runc", "echo started")?;
    let root = bundle.path();
    fs::set_permissions(root, fs::Permissions::from_mode(0o777))?;
    fs::set_permissions(root.join("config.json"), fs::Permissions::from_mode(0o666))?;
    let before = bundle.configuration()?;
    let output = Command::new(words[0])
        .args(&words[1..])
        .arg(binary())
        .args(["oci", "runtime", "--runtime", "runc", "--", "--root"])
        .arg(root.join("state"))
        .args(["run", "--bundle"])
        .arg(root)
        .arg(bundle.id())
        .stdin(Stdio::null())
        .output()?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success()
        || told.contains("started")
        || !complaint.contains("containers are fenced by root")
    {
        return Err(format!("{}\n{told}\n{complaint}", output.status).into());
    }
    match bundle.configuration()? == before {
        true => Ok(()),
        false => Err("the bundle was changed".into()),
    }
}

fn another_user() -> Verdict {
    called_by(&[
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
    ])
}

fn user_namespace() -> Verdict {
    called_by(&[
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "unshare",
        "--user",
        "--map-root-user",
    ])
}

/// A user with numbers to give away, whom only this script knows, and podman in his name with storage that is gone afterwards.
const USERS_PODMAN: &str = r#"
here=$PWD; chmod 755 . /run
mkdir -p home run root/bin; ln -s busybox root/bin/sh; cp "$(command -v busybox)" root/bin/busybox
tar -C root -cf layer.tar .
cp "$R" own; ln -s own ringfence-runc
(cat /etc/passwd; echo "rf-test:x:54321:54321::$here/home:/bin/sh") > passwd
(cat /etc/group; echo "rf-test:x:54321:") > group
echo rf-test:600000:65536 | tee subuid > subgid
for one in passwd group subuid subgid; do mount --bind $one /etc/$one; done
printf '[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
' > containers.conf
printf '[storage]
driver = "vfs"
' > storage.conf
chown 54321:54321 home run; chmod 700 run
podman_() {
    (cd home && setpriv --reuid 54321 --regid 54321 --clear-groups env -i PATH="$PATH" USER=rf-test HOME=$here/home         XDG_RUNTIME_DIR=$here/run CONTAINERS_CONF=$here/containers.conf CONTAINERS_STORAGE_CONF=$here/storage.conf         podman --cgroup-manager cgroupfs --events-backend file "$@")
}
# podman leaves a process that holds its namespaces.
trap 'kill "$(cat run/libpod/tmp/pause.pid)" || true' EXIT
podman_ import $here/layer.tar localhost/rf:1
one() { podman_ --runtime "$1" run --rm --network none localhost/rf:1 sh -c 'echo started' > out 2> wrong; }
one runc
[ "$(cat out)" = started ]
if one $here/ringfence-runc; then exit 1; fi
[ ! -s out ]
grep 'containers are fenced by root' wrong
grep 'ringfence run' wrong
[ -z "$(podman_ ps --all --quiet)" ]
"#;

fn podman_of_a_user() -> Verdict {
    script(USERS_PODMAN)
}

/// Root outside starts it, so that it can be fenced: the container's users are others' numbers, and its files belong to them.
fn inside() -> Verdict {
    let script = "cat /proc/self/uid_map | grep -o 100000; cat /data/kept; echo x > /data/made || echo unwritten; \
                  echo fine > /tmp/made && cat /tmp/made; unshare -U true || echo unshared";
    let run = |runtime: &str| {
        let bundle = Bundle::of(runtime, script)?.with(|value| {
            let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
            value["linux"]["uidMappings"] = map.clone();
            value["linux"]["gidMappings"] = map;
            if let Some(list) = value["linux"]["namespaces"].as_array_mut() {
                list.push(json!({ "type": "user" }));
            }
        })?;
        // It has to come to its root.
        fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o755))?;
        let chown = Command::new("chown")
            .args(["-R", "100000:100000"])
            .arg(bundle.at(""))
            .status()?;
        if !chown.success() {
            return Err("chown failed".into());
        }
        bundle.call(&["run", "@"])
    };
    run("ringfence-runc")?.says("100000\nkept\nunwritten\nfine\nunshared\n")?;
    run("runc")?.says("100000\nkept\nfine\n")
}
