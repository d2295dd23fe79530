//! What is exported is taken by the tools that it is for: an AppArmor profile by its compiler, a filter and the parts of a bundle by
//! a container's runtime, which then keeps them.

use std::process::Command;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::kit::{Folder, Need, Ringfence, Suite, Verdict};
use crate::oci::Bundle;

const PROFILE: &str = r#"
version = 1
extends = ["base"]
[files]
read = ["/srv/{www,static}/**", "/data/caf\u00e9/*", "${HOME}/.config/tool-[0-9]*"]
write = ["${TMP}/**", "/var/lib/tool/state"]
exec = ["/usr/bin/env"]
deny = ["/srv/www/**/.env"]
[process]
capabilities = ["chown"]
[limits]
open-files = 64
"#;

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "export::apparmors_compiler_takes_the_profile",
        &[Need::Processor, Need::Program("apparmor_parser")],
        apparmors_compiler_takes_the_profile,
    );
    suite.test(
        "export::a_runtime_keeps_what_is_exported_for_it",
        &[
            Need::Root,
            Need::Cgroup,
            Need::Processor,
            Need::Program("runc"),
        ],
        a_runtime_keeps_what_is_exported_for_it,
    );
}

/// What `profile export` writes.
fn exported(folder: &Folder, flag: &str) -> Result<String, Failed> {
    let profile = folder.file("own.toml", PROFILE)?;
    let finished = Ringfence::with(["profile", "export", "--lossy", flag, "-p"])
        .and([profile])
        .run()?;
    finished.succeeds()?;
    Ok(finished.out())
}

fn apparmors_compiler_takes_the_profile() -> Verdict {
    let folder = Folder::new()?;
    let text = exported(&folder, "--apparmor")?;
    let compiled = |name: &str, text: &str| -> Result<_, Failed> {
        let file = folder.file(name, text)?;
        // Compiled, and neither loaded nor kept.
        let mut parser = Command::new("apparmor_parser");
        Ok(parser.args(["-Q", "-K", "-S"]).arg(file).output()?)
    };
    let good = compiled("good", &text)?;
    if !good.status.success() || good.stdout.is_empty() {
        let err = String::from_utf8_lossy(&good.stderr);
        return Err(format!("refused: {err}\n{text}").into());
    }
    // It is the compiler that says so.
    let broken = text.replacen(',', "", 1);
    match compiled("broken", &broken)?.status.success() {
        true => Err("a broken profile is taken as well".into()),
        false => Ok(()),
    }
}

fn a_runtime_keeps_what_is_exported_for_it() -> Verdict {
    let folder = Folder::new()?;
    let parts: Value = serde_json::from_str(&exported(&folder, "--oci")?)?;
    let filter: Value = serde_json::from_str(&exported(&folder, "--seccomp")?)?;
    let script = "ulimit -n; unshare -U true 2>/dev/null && echo open || echo closed; grep NoNewPrivs /proc/self/status";
    Bundle::of("runc", script)?
        .call(&["run", "@"])?
        .claim_out(|out| out.contains("open\n") && out.contains("NoNewPrivs:\t0"))?;
    let all = Bundle::of("runc", script)?.with(|configuration| merge(configuration, &parts))?;
    all.call(&["run", "@"])?
        .says("64\nclosed\nNoNewPrivs:\t1\n")?;
    // The filter alone, as container engines take it.
    let filtered = Bundle::of("runc", script)?
        .with(|configuration| configuration["linux"]["seccomp"] = filter)?;
    filtered
        .call(&["run", "@"])?
        .claim_out(|out| out.contains("closed\n"))
}

/// What `parts` say beats what is there.
fn merge(into: &mut Value, parts: &Value) {
    match (into, parts) {
        (Value::Object(into), Value::Object(parts)) => {
            for (key, part) in parts {
                merge(into.entry(key).or_insert(Value::Null), part);
            }
        }
        (into, part) => *into = part.clone(),
    }
}
