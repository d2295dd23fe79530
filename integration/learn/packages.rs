//! Package managers, in a network that has a registry, an index and a mirror: learned by name, enforced without a denial, and a
//! package from elsewhere is not had.

use std::fs;

use super::network::{within, without_denials};
use crate::kit::{Need, Network, Suite, Verdict};

/// An emulated processor needs minutes for node and pip.
const NEEDS: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Processor,
    Need::Program("unshare"),
    Need::Program("ip"),
    Need::Program("npm"),
    Need::Program("apt-get"),
];

/// What this subject promises.
pub(super) fn register(suite: &mut Suite) {
    for (name, script, beside) in [
        ("learn::npm_ci_goes_there_and_back", NPM, NPM_BESIDE),
        ("learn::pip_install_goes_there_and_back", PIP, PIP_BESIDE),
        ("learn::apt_download_goes_there_and_back", APT, APT_BESIDE),
    ] {
        suite.test(name, NEEDS, move || there_and_back(script, beside));
    }
}

const NPM: &str = "npm ci --silent --no-audit --no-fund --no-update-notifier --fetch-retries 0 --registry http://web.test:8080/ \
                   --cache .cache && cat node_modules/tiny/package.json";
const NPM_BESIDE: &str = "npm install --silent --no-audit --no-fund --no-update-notifier --fetch-retries 0 \
                          --registry http://other.test:8080/ --cache .cache --prefix beside tiny";

const PIP: &str = "/usr/bin/python3 -m pip --isolated --disable-pip-version-check install -q --no-deps --no-cache-dir --retries 0 \
                   --no-compile -i http://web.test:8080/simple/ --trusted-host web.test --trusted-host cdn.test --target site tiny && \
                   ls site";
const PIP_BESIDE: &str = "/usr/bin/python3 -m pip --isolated --disable-pip-version-check install -q --no-deps --no-cache-dir \
                          --retries 0 -i http://other.test:8080/simple/ --trusted-host other.test --target site2 tiny";

/// With a configuration of its own, so that the host's says nothing.
const APT: &str = "d=$PWD/apt; mkdir -p $d/lists/partial $d/cache/archives/partial $d/etc; touch $d/status; \
                   echo 'deb [trusted=yes] http://web.test:8080/debian ./' >$d/sources; \
                   printf 'Dir::%s;\\n' \"Etc \\\"$d/etc\\\"\" \"Etc::sourcelist \\\"$d/sources\\\"\" 'Etc::sourceparts \"/dev/null\"' \
                   \"State \\\"$d\\\"\" \"State::lists \\\"$d/lists\\\"\" \"State::status \\\"$d/status\\\"\" \
                   \"Cache \\\"$d/cache\\\"\" >$d/conf; export APT_CONFIG=$d/conf; \
                   echo 'APT::Sandbox::User \"root\"; Acquire::Languages \"none\"; Acquire::Retries \"0\";' >>$d/conf; \
                   apt-get update -qq && mkdir -p debs && cd debs && apt-get download -qq tiny && dpkg-deb --contents tiny_1.0_all.deb | \
                   grep -o usr/share/tiny";
const APT_BESIDE: &str = "APT_CONFIG=$PWD/apt/conf apt-get update -qq -o APT::Update::Error-Mode=any -o Dir::Etc::sourcelist=$PWD/other.list";

/// Learns, and enforces from the same beginning, in a directory of its own inside of the network's.
fn there_and_back(script: &str, beside: &str) -> Verdict {
    let network = Network::new()?;
    network.folder.file(
        "app/package.json",
        "{\"dependencies\": {\"tiny\": \"1.0.0\"}}",
    )?;
    network.folder.file(
        "app/other.list",
        "deb [trusted=yes] http://other.test:8080/debian ./\n",
    )?;
    network.folder.file("app/run.sh", script)?;
    network.folder.file("app/beside.sh", beside)?;
    within(&network, TRIP)?;
    let told = fs::read_to_string(network.folder.at("enforced.err"))?;
    without_denials(&told)?;
    let told = fs::read_to_string(network.folder.at("beside.err"))?;
    match told.contains("denied resolve other.test") {
        true => Ok(()),
        false => Err(format!("nothing was denied:\n{told}").into()),
    }
}

const TRIP: &str = "
    set -e
    # Tools of the system alone: pip asks rustc for its version, npm git for its.
    export HOME=$PWD/home PATH=/usr/sbin:/usr/bin:/sbin:/bin; mkdir home; cd app
    # What a repository would hold.
    npm install --silent --no-audit --no-fund --package-lock-only --registry http://web.test:8080/ --cache .cache
    clean() { rm -rf node_modules site apt debs .cache; }
    clean; $R learn -o ../learned.toml -- sh run.sh >../learned.out
    clean; $R run -p ../learned.toml -- sh run.sh >../enforced.out 2>../enforced.err || { cat ../enforced.err; exit 1; }
    cmp ../learned.out ../enforced.out
    $R run -p ../learned.toml -- sh beside.sh 2>../beside.err && exit 1
    exit 0
";
