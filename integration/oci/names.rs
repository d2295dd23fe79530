//! Names of hosts in a container: the fence's resolver answers in the container's own network namespace.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::Failed;
use serde_json::json;

use super::FENCED;
use super::bundle::Bundle;
use crate::kit::{Suite, Verdict};

pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "oci::a_container_finds_allowed_names_and_no_others",
        FENCED,
        finds_allowed_names,
    );
}

/// A profile of the host's, which is where containers' profiles have to be.
pub(super) struct HostProfile {
    file: PathBuf,
    pub(super) name: String,
}

impl HostProfile {
    pub(super) fn of(text: &str) -> Result<Self, Failed> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringfence-test-{}-{number}", std::process::id());
        fs::create_dir_all("/etc/ringfence/profiles")?;
        let file = PathBuf::from(format!("/etc/ringfence/profiles/{name}.toml"));
        fs::write(&file, text)?;
        Ok(Self { file, name })
    }
}

impl Drop for HostProfile {
    fn drop(&mut self) {
        fs::remove_file(&self.file).ok();
    }
}

/// The name server is nowhere, and the container's own network has loopback alone.
fn finds_allowed_names() -> Verdict {
    let profile = HostProfile::of(
        "version = 1\nextends = [\"untrusted\"]\n[network]\nconnect = [\"web.test:80\"]\n",
    )?;
    let script = "nslookup web.test | grep 'Address: 127.0.0.7'; nslookup other.test | grep -m1 -o NXDOMAIN; \
                  nc -w 1 127.0.0.7 80 || echo refused; nc -w 1 127.0.0.7 81 || echo denied";
    let bundle = Bundle::of("ringfence-runc", script)?.named(&profile.name)?;
    let given = |name: &str, text: &str| -> Result<serde_json::Value, Failed> {
        let file = bundle.path().join(name);
        fs::write(&file, text)?;
        Ok(json!({
            "destination": format!("/etc/{name}"), "type": "bind", "source": file, "options": ["bind", "ro"],
        }))
    };
    let mounts = [
        given("resolv.conf", "nameserver 192.0.2.1\n")?,
        given("hosts", "127.0.0.7 web.test\n")?,
    ];
    let bundle = bundle.with(|value| {
        if let Some(list) = value["mounts"].as_array_mut() {
            list.extend(mounts);
        }
    })?;
    let ended = bundle.call(&["run", "@"])?;
    ended.says("Address: 127.0.0.7\nNXDOMAIN\nrefused\ndenied\n")?;
    // Nobody listens on either port; who of the two was asked is in the errors.
    let complaints = ended.err();
    ended.claim(
        complaints.contains("Connection refused")
            && (complaints.contains("not permitted") || complaints.contains("Permission denied")),
        "one refusal by the peer and one by the fence",
    )
}
