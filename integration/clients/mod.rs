//! Programs that look names up in their own ways: the JVM, and Go with its own resolver and with that of the C library.

use std::process::Command;

use libtest_mimic::Failed;

use crate::kit::{Need, Network, Suite, Verdict};

/// A compiler and a virtual machine take minutes on an emulated processor; what they ask of the fence is alike on all.
pub(crate) const NEEDS_JAVA: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Processor,
    Need::Program("unshare"),
    Need::Program("ip"),
    Need::Program("javac"),
];

/// As [`NEEDS_JAVA`].
pub(crate) const NEEDS_GO: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Processor,
    Need::Program("unshare"),
    Need::Program("ip"),
    Need::Program("go"),
];

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "clients::java_finds_its_peer_by_name",
        NEEDS_JAVA,
        java_finds_its_peer_by_name,
    );
    suite.test(
        "clients::go_finds_its_peer_by_name_with_either_resolver",
        NEEDS_GO,
        go_finds_its_peer_by_name_with_either_resolver,
    );
}

/// Compiles a file of this folder where `network` is.
fn compile(network: &Network, name: &str, text: &str, compiler: &[&str]) -> Verdict {
    network.folder.file(name, text)?;
    let made = Command::new(compiler[0])
        .args(&compiler[1..])
        .arg(name)
        .current_dir(network.folder.path())
        .env("GOCACHE", network.folder.at("cache"))
        .env("GO111MODULE", "off")
        .output()?;
    match made.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&made.stderr).into_owned().into()),
    }
}

/// `command HOST:PORT` reaches an allowed name, and neither another name nor an address that no name has led to.
fn finds(network: &Network, options: &[&str], command: &[&str]) -> Verdict {
    let run = |rule: Option<&str>, peer: &str| -> Result<_, Failed> {
        let command = [command, &[peer]].concat();
        let options = rule.map(|rule| [options, &["--connect", rule]].concat());
        network.run(options.as_deref(), &command)
    };
    let (name, address) = ("web.test:8080", "93.184.215.80:8080");
    for peer in [name, address] {
        run(None, peer)?.claim(true, &["hello from outside"])?;
    }
    run(Some(name), name)?.claim(true, &["hello from outside"])?;
    run(Some("other.test:8080"), name)?.claim(false, &["denied resolve web.test"])?;
    run(Some("web.test:8081"), name)?
        .claim(false, &["denied connect web.test (tcp 93.184.215.80:8080)"])?;
    run(Some(name), address)?.claim(false, &["denied connect tcp 93.184.215.80:8080"])
}

fn java_finds_its_peer_by_name() -> Verdict {
    let network = Network::new()?;
    compile(
        &network,
        "Fetch.java",
        include_str!("Fetch.java"),
        &["javac"],
    )?;
    finds(&network, &[], &["java", "-cp", ".", "Fetch"])
}

fn go_finds_its_peer_by_name_with_either_resolver() -> Verdict {
    let network = Network::new()?;
    compile(
        &network,
        "fetch.go",
        include_str!("fetch.go"),
        &["go", "build"],
    )?;
    for resolver in ["GODEBUG=netdns=go", "GODEBUG=netdns=cgo"] {
        finds(
            &network,
            &["--exec", "./fetch"],
            &["env", resolver, "./fetch"],
        )?;
    }
    Ok(())
}
