//! What cannot be done for a user who is not root is refused, with the reason.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use serde_json::json;

use super::FENCED;
use super::bundle::Bundle;
use crate::kit::{Need, Suite, Verdict, binary};

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Program("runc"),
    Need::Program("busybox"),
    Need::Program("setpriv"),
    Need::Program("unshare"),
];

pub(crate) fn register(suite: &mut Suite) {
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
