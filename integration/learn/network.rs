//! What a run reached is learned by its name, what it bound by its address, and both are enough for the next run.

use std::fs;

use crate::kit::{Need, Network, PYTHON, Suite, Verdict, binary};

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Program("unshare"),
    Need::Program("ip"),
    Need::Program("curl"),
];

/// What this subject promises.
pub(super) fn register(suite: &mut Suite) {
    suite.test(
        "learn::who_was_reached_is_learned_by_name",
        NEEDS,
        who_was_reached_is_learned_by_name,
    );
    suite.test(
        "learn::servers_of_the_run_itself_are_reached_again",
        NEEDS,
        servers_of_the_run_itself_are_reached_again,
    );
}

/// Learns, enforces, and checks a change, in one network.
const NAMES: &str = "
    set -e
    fetch='curl -sS -m 60 http://web.test:8080/hello; curl -sS -m 60 http://inside.test:8080/hello; getent hosts gone.test || true'
    $R learn -o learned.toml -- sh -c \"$fetch\" >learned.out
    $R run -p learned.toml -- sh -c \"$fetch\" >enforced.out 2>told
    # What another change brings along.
    code=0; $R check -p learned.toml -- sh -c \"$fetch; curl -sS -m 60 http://other.test:8080/hello\" >checked.out || code=$?
    echo $code >code
    $R run -p learned.toml -- curl -sS -m 60 http://web.test:8081/hello && exit 1
    $R run -p learned.toml -- curl -sS -m 60 http://other.test:8080/hello && exit 1
    exit 0
";

fn who_was_reached_is_learned_by_name() -> Verdict {
    let network = Network::new()?;
    within(&network, NAMES)?;
    let read = |name: &str| fs::read_to_string(network.folder.at(name));
    let profile = read("learned.toml")?;
    for rule in [
        "\"web.test:8080\"",
        "\"inside.test:8080\"",
        "\"127.0.0.1:8080\"",
        "\"udp://gone.test:0\"",
    ] {
        if !profile.contains(rule) {
            return Err(format!("no rule {rule} in\n{profile}").into());
        }
    }
    if profile.contains("93.184") || profile.contains("mode = \"off\"") {
        return Err(format!("an address, or an open network, in\n{profile}").into());
    }
    without_denials(&read("told")?)?;
    if read("enforced.out")? != read("learned.out")? {
        return Err(format!("behind the fence it said\n{}", read("enforced.out")?).into());
    }
    let checked = read("checked.out")?;
    if read("code")?.trim() != "1"
        || !checked.contains("resolve other.test")
        || !checked.contains("connect other.test (tcp 93.184.215.81:8080)")
    {
        return Err(format!("the change is not named in\n{checked}").into());
    }
    Ok(())
}

/// One port that was asked for, one that the kernel chose, and a server of datagrams that answers.
const SERVERS: &str = "
import socket
for address in [('127.0.0.1', 0), ('', 8001)]:
    server = socket.create_server(address)
    client = socket.create_connection(('127.0.0.1', server.getsockname()[1]))
    accepted, _ = server.accept()
    client.sendall(b'x')
    assert accepted.recv(1) == b'x'
server, client = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
server.bind(('127.0.0.1', 8002))
client.sendto(b'ask', ('127.0.0.1', 8002))
_, who = server.recvfrom(9)
server.sendto(b'answer', who)
assert client.recv(9) == b'answer'
";

fn servers_of_the_run_itself_are_reached_again() -> Verdict {
    let network = Network::new()?;
    network.folder.file("servers.py", SERVERS)?;
    let script = format!(
        "$R learn -o learned.toml -- {PYTHON} servers.py && $R run -p learned.toml -- {PYTHON} servers.py 2>told"
    );
    within(&network, &script)?;
    let profile = fs::read_to_string(network.folder.at("learned.toml"))?;
    for rule in [
        "\"127.0.0.1:0\"",
        "\"0.0.0.0:8001\"",
        "\"udp://127.0.0.1:8002\"",
    ] {
        if !profile.contains(rule) {
            return Err(format!("no rule {rule} in\n{profile}").into());
        }
    }
    without_denials(&fs::read_to_string(network.folder.at("told"))?)
}

pub(super) fn within(network: &Network, script: &str) -> Verdict {
    let script = format!("R={}\n{script}", binary().display());
    network.run(None, &["sh", "-c", &script])?.claim(true, &[])
}

/// What a run told on standard error names no denial.
pub(super) fn without_denials(told: &str) -> Verdict {
    match told.contains("ringfence: denied") {
        true => Err(format!("a denial was told:\n{told}").into()),
        false => Ok(()),
    }
}
