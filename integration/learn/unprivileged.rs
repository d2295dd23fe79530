//! Learning without root, by stopping at every system call.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use libtest_mimic::Failed;

use super::Workshop;
use crate::kit::{Finished, Need, PYTHON, Suite, Verdict};

/// Without root there is the fallback engine only, and a command under ptrace takes minutes where a processor is emulated.
const NEEDS: &[Need] = &[Need::Root, Need::NoBpfLsm, Need::Landlock];

/// What this subject promises.
pub(super) fn register(suite: &mut Suite) {
    suite.test(
        "learn::without_root_a_run_goes_there_and_back",
        NEEDS,
        without_root_a_run_goes_there_and_back,
    );
    suite.test(
        "learn::without_root_acts_are_told_once_and_counted",
        NEEDS,
        without_root_acts_are_told_once_and_counted,
    );
}

/// A workshop whose home directory everybody may use, too.
fn open_workshop() -> Result<Workshop, Failed> {
    let shop = Workshop::new()?;
    fs::set_permissions(shop.aside.at("home"), fs::Permissions::from_mode(0o777))?;
    Ok(shop)
}

fn learn(shop: &Workshop, command: &[&str]) -> Result<Finished, Failed> {
    shop.ringfence(["learn", "--trace"])
        .and([shop.aside.at("trace"), "-o".into(), shop.profile()])
        .and(["--"])
        .and(command)
        .by_ordinary_user()
        .run()
}

fn run(shop: &Workshop, command: &[&str]) -> Result<Finished, Failed> {
    shop.ringfence(["run", "-p"])
        .and([shop.profile()])
        .and(["--"])
        .and(command)
        .by_ordinary_user()
        .run()
}

/// Nobody tells denials here: what is denied fails, and `set -e` says so.
const SCRIPT: &str = "set -e; cat given; mkdir d; echo hi > d/out; cp d/out d/copy; mv d/copy d/moved; ln -s out d/link; \
                      cat d/link d/moved; chmod 600 d/out; find d | sort; rm -r d; \
                      t=$(mktemp); echo x > $t; wc -c < $t; sh ./script";

fn without_root_a_run_goes_there_and_back() -> Verdict {
    let shop = open_workshop()?;
    shop.work.file("given", "given\n")?;
    shop.work.file("script", "echo from the script\n")?;
    shop.work.file("other", "other\n")?;
    let learned = learn(&shop, &["sh", "-c", SCRIPT])?;
    learned.succeeds()?.complains("recording by ptrace")?;
    let again = run(&shop, &["sh", "-c", SCRIPT])?;
    again.succeeds()?;
    again.claim(
        again.out() == learned.out(),
        "the same as when it was learned",
    )?;
    let outside = shop.aside.at("home/outside");
    run(&shop, &["sh", "-c", &format!(": > {}", outside.display())])?.fails()?;
    again.claim(!outside.exists(), "nothing outside")?;
    run(&shop, &[PYTHON, "-c", ""])?.fails()?;
    Ok(())
}

fn without_root_acts_are_told_once_and_counted() -> Verdict {
    let shop = open_workshop()?;
    shop.work.file("given", "given\n")?;
    let script = "i=0; while [ $i -lt 200 ]; do read x < given; i=$((i+1)); done; \
                  (: > by-child) & wait; cat nothing-there 2> /dev/null; ./tool; kill -TERM $$";
    shop.work.script("tool", "#!/bin/sh\n: > by-tool\n")?;
    // Ended by its own signal.
    learn(&shop, &["sh", "-c", script])?.exits_with(143)?;
    let path = |name: &str| format!("\"path\":\"{}\"", shop.work.at(name).display());
    for (name, what, holds) in [
        ("given", "open", "\"count\":200,"),
        ("by-child", "create", "\"rights\":\"w\""),
        ("by-tool", "create", "\"rights\":\"w\""),
        ("tool", "exec", "\"rights\":\"x\""),
    ] {
        let told = shop.traced(&path(name))?;
        let what = format!("\"what\":\"{what}\"");
        let found = told.iter().filter(|line| line.contains(&what)).count();
        let holds = told
            .iter()
            .any(|line| line.contains(&what) && line.contains(holds));
        if found != 1 || !holds {
            return Err(format!("not one {what} of {name}: {told:#?}").into());
        }
    }
    if shop.traced(&path("nothing-there"))?.is_empty() {
        return Ok(());
    }
    Err("a failed look-up is told".into())
}
