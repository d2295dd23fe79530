//! `check`: a change of behaviour is named, and fails.

use std::fs;

use super::{RECORDING, Workshop};
use crate::kit::{Finished, Suite, Verdict};

/// What this subject promises.
pub(super) fn register(suite: &mut Suite) {
    suite.test(
        "learn::a_check_of_the_same_finds_nothing",
        RECORDING,
        a_check_of_the_same_finds_nothing,
    );
    suite.test(
        "learn::a_check_names_what_a_malicious_change_does",
        RECORDING,
        a_check_names_what_a_malicious_change_does,
    );
    suite.test(
        "learn::a_check_takes_in_what_is_new_if_it_is_told_to",
        RECORDING,
        a_check_takes_in_what_is_new_if_it_is_told_to,
    );
}

const BUILD: &str = "cat input > output";

fn check(shop: &Workshop, flags: &[&str]) -> Result<Finished, libtest_mimic::Failed> {
    shop.ringfence(["check", "-p"])
        .and([shop.profile()])
        .and(flags)
        .and(["--", "sh", "build.sh"])
        .run()
}

/// A build that was learned.
fn learned() -> Result<Workshop, libtest_mimic::Failed> {
    let shop = Workshop::new()?;
    shop.work.file("input", "x")?;
    shop.work.file("build.sh", BUILD)?;
    shop.learn(&[], &["sh", "build.sh"])?;
    Ok(shop)
}

fn a_check_of_the_same_finds_nothing() -> Verdict {
    let shop = learned()?;
    check(&shop, &[])?.succeeds()?.says("0 new")?;
    Ok(())
}

fn a_check_names_what_a_malicious_change_does() -> Verdict {
    let shop = learned()?;
    let key = shop.aside.file("home/.ssh/id_ed25519", "KEY")?;
    let dropped = shop.aside.at("dropped");
    let script = format!(
        "{BUILD}\ncat $HOME/.ssh/id_ed25519 > /dev/null\ncp /bin/true {0}\n{0}\n",
        dropped.display()
    );
    shop.work.file("build.sh", &script)?;
    let finished = check(&shop, &[])?;
    finished
        .exits_with(1)?
        .says("private keys")?
        .says(&key.display().to_string())?
        .says(&format!("exec {}", dropped.display()))?
        .says(&format!("create {}", dropped.display()))?;
    Ok(())
}

fn a_check_takes_in_what_is_new_if_it_is_told_to() -> Verdict {
    let shop = learned()?;
    shop.aside.file("home/.ssh/id_ed25519", "KEY")?;
    let other = shop.aside.file("other", "y")?;
    let script = format!("{BUILD}\ncat {} $HOME/.ssh/id_ed25519\n", other.display());
    shop.work.file("build.sh", &script)?;
    check(&shop, &["--update"])?.exits_with(1)?;
    let text = fs::read_to_string(shop.profile())?;
    let finished = check(&shop, &[])?;
    finished
        .exits_with(1)?
        .says("id_ed25519")?
        .does_not_say(&other.display().to_string())?;
    finished.claim(text.contains("in 1 of 2 runs"), "evidence of two runs")?;
    Ok(())
}
