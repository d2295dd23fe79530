//! Programs that look names up and map code in ways of their own: the JVM with its compiler, and Go, in a network that has what they
//! fetch. Learned by name, enforced without a denial, and stopped at another name.

use std::fs;

use super::network::{within, without_denials};
use crate::clients::{NEEDS_GO, NEEDS_JAVA};
use crate::kit::{Network, Suite, Verdict};

/// What this subject promises.
pub(super) fn register(suite: &mut Suite) {
    suite.test("learn::java_goes_there_and_back", NEEDS_JAVA, || {
        there_and_back(
            "Fetch.java",
            include_str!("../clients/Fetch.java"),
            "javac -d classes Fetch.java && java -cp classes Fetch $1",
        )
    });
    suite.test("learn::go_goes_there_and_back", NEEDS_GO, || {
        there_and_back(
            "fetch.go",
            include_str!("../clients/fetch.go"),
            "export GO111MODULE=off; go build -o fetch fetch.go && ./fetch $1 >answer && tail -n1 answer",
        )
    });
}

/// `script` compiles a program and runs it for the peer that is its argument.
fn there_and_back(name: &str, text: &str, script: &str) -> Verdict {
    let network = Network::new()?;
    network.folder.file(&format!("app/{name}"), text)?;
    network.folder.file("app/run.sh", script)?;
    within(&network, TRIP)?;
    let read = |name: &str| fs::read_to_string(network.folder.at(name));
    if !read("learned.out")?.contains("hello from outside") {
        return Err(format!("it fetched\n{}", read("learned.out")?).into());
    }
    without_denials(&read("enforced.err")?)?;
    let told = read("beside.err")?;
    match told.contains("denied resolve other.test") {
        true => Ok(()),
        false => Err(format!("nothing was denied:\n{told}").into()),
    }
}

const TRIP: &str = "
    set -e
    export HOME=$PWD/home XDG_CACHE_HOME=$PWD/home/.cache PATH=/usr/sbin:/usr/bin:/sbin:/bin; mkdir home; cd app
    clean() { rm -rf classes fetch answer; }
    clean; $R learn -o ../learned.toml -- sh run.sh web.test:8080 >../learned.out
    clean; $R run -p ../learned.toml -- sh run.sh web.test:8080 >../enforced.out 2>../enforced.err || { cat ../enforced.err; exit 1; }
    cmp ../learned.out ../enforced.out
    $R run -p ../learned.toml -- sh run.sh other.test:8080 2>../beside.err && exit 1
    exit 0
";
