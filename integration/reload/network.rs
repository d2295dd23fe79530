//! Another profile, and with it other peers: by address, by name, and at Unix sockets that the supervisor connects.

use super::{FILES, TOOLS};
use crate::kit::{Need, Network, OWN_RUN_ON_HOSTS, PRELUDE, Suite, Verdict, binary, script};

/// What a network of its own takes besides.
const NAMES_NEED: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Processor,
    Need::Program("unshare"),
    Need::Program("ip"),
    Need::Program("python3"),
];

/// Where the supervisor connects Unix sockets.
const SOCKETS_NEED: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Landlock,
    Need::Processor,
    Need::Program("unshare"),
    Need::Program("python3"),
];

/// What this subject promises.
pub(super) fn register(suite: &mut Suite) {
    suite.test(
        "reload::every_kind_of_peer_is_that_of_the_new_profile",
        OWN_RUN_ON_HOSTS,
        || script(&format!("{TOOLS}{FILES}{PYTHON}{KINDS}")),
    );
    suite.test(
        "reload::unix_sockets_are_reached_by_the_new_profile",
        SOCKETS_NEED,
        || script(&format!("{TOOLS}{FILES}{PYTHON}{SOCKETS}")),
    );
    suite.test("reload::names_stay_and_lead_on", NAMES_NEED, names);
}

/// A profile under which Python runs.
const PYTHON: &str = r#"
profile() { # name, and lines that follow
    { printf 'version = 1\nname = "%s"\nextends = ["python"]\n' $1; cat; } > $1.toml
}
"#;

/// TCP that is made and that stands, datagrams of a socket that is connected and of others, ports that are bound, and what is denied inside of
/// what is allowed.
const KINDS: &str = r#"
/usr/bin/python3 -IS -c '
import os, selectors, socket
tcp = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
udp = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
for one in udp: one.bind(("127.0.0.1", 0))
# Not bound by anybody when the command binds them.
free = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
numbers = [one.getsockname()[1] for one in tcp + udp + free]
for one in free: one.close()
with open("ports.new", "w") as ports: print(*numbers, file=ports)
os.rename("ports.new", "ports")
selector = selectors.DefaultSelector()
for one in tcp + udp: selector.register(one, selectors.EVENT_READ)
while True:
    for key, _ in selector.select():
        one = key.fileobj
        if one in tcp: selector.register(one.accept()[0], selectors.EVENT_READ)
        elif one in udp: one.recv(9)
        else:
            try: said = one.recv(9)
            except OSError: said = b""
            if said: one.sendall(said)
            else: selector.unregister(one); one.close()' & server=$!
trap 'kill $server' EXIT
until_ [ -e ports ]
read t1 t2 u1 u2 l1 l2 < ports
cat > reach.py <<EOF
import os, socket
def tries(act):
    try: act()
    except OSError: return "0"
    return "1"
def connects(port):
    with socket.create_connection(("127.0.0.1", port), 60): pass
def sends(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one: one.sendto(b"x", ("127.0.0.1", port))
def binds(port):
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", port))
stream = socket.create_connection(("127.0.0.1", $t1), 60)
datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagram.connect(("127.0.0.1", $u1))
def talks():
    stream.sendall(b"y")
    if stream.recv(1) != b"y": raise OSError
def each(act, *ports): return "".join(tries(lambda: act(port)) for port in ports)
while not os.path.exists("end"):
    now = [each(connects, $t1, $t2), tries(talks), tries(lambda: datagram.send(b"z")), each(sends, $u1, $u2), each(binds, $l1, $l2)]
    with open("out/new", "w") as new: new.write("/".join(now))
    os.rename("out/new", "out/seen")
EOF
peers() { printf '[network]\nconnect = ["127.0.0.1:%s", "udp://127.0.0.1:%s"]\nlisten = ["127.0.0.1:%s"]\n' $1 $2 $3; files first; }
peers $t1 $u1 $l1 | profile one
peers $t2 $u2 $l2 | profile two
{ printf '[network]\nconnect = ["127.0.0.1:1-65535"]\nlisten = ["127.0.0.1:%s"]\ndeny = ["127.0.0.1:%s"]\n' $l2 $t1; files first; } | profile inside
{ printf '[network]\nmode = "off"\n'; files first; } | profile open
$R run -q -p ./one.toml -- /usr/bin/python3 -IS reach.py & run=$!
until_ sees 10/1/1/10/10
id=$(number)
# What stands goes on; a datagram is judged each time.
$R reload $id -p ./two.toml
until_ sees 01/1/0/01/01
$R reload $id -p ./inside.toml
until_ sees 01/1/1/11/01
refused open network
rm out/seen
until_ sees 01/1/1/11/01
$R reload $id -p ./one.toml
until_ sees 10/1/1/10/10
$R ps --json > list
claim list 'j[0]["profile"] == "one" and j[0]["errors"] == 0'
: > end
wait $run
"#;

/// By path and by abstract name.
const SOCKETS: &str = r#"
mkdir sockets
/usr/bin/python3 -IS -c '
import select, socket, sys
def listens(name):
    one = socket.socket(socket.AF_UNIX); one.bind(name); one.listen(64); return one
names = ["sockets/one", "sockets/two", f"\0rf-reload-{sys.argv[1]}-one", f"\0rf-reload-{sys.argv[1]}-two"]
own = [listens(name) for name in names]
open("there", "w").close()
while True:
    for one in select.select(own, [], [])[0]: one.accept()[0].close()' $$ & server=$!
trap 'kill $server' EXIT
until_ [ -e there ]
cat > reach.py <<EOF
import socket, threading
names = ["sockets/one", "sockets/two", "\0rf-reload-$$-one", "\0rf-reload-$$-two"]
def reaches(name):
    with socket.socket(socket.AF_UNIX) as one:
        try: one.connect(name)
        except OSError: return "0"
        return "1"
# Somebody connects all the while, so that children of the supervisor come and go.
def on_and_on():
    while True: reaches(names[0])
threading.Thread(target=on_and_on, daemon=True).start()
# Each word is answered by acts that begin after it.
while True:
    word = open("asks").readline().strip()
    if not word: break
    open("answers", "w").write("".join(map(reaches, names)) + "\n")
EOF
mkfifo asks answers
reaches() { echo now > asks; read now < answers; [ $now = $1 ]; }
peers() { printf '[network]\nunix = ["%s/sockets/%s", "@rf-reload-%s-%s"]\n' $PWD $1 $$ $1; talks; }
talks() { printf '[files]\nread = ["%s/always"]\nwrite = ["%s/answers", "/dev/null"]\n' $PWD $PWD; }
peers one | profile one
peers two | profile two
talks | profile none
{ printf '[network]\nunix = ["%s/sockets/*"]\ndeny = ["%s/sockets/one"]\n' $PWD $PWD; talks; } | profile inside
{ printf '[network]\nunix = ["%s/sockets/one"]\nconnect = ["127.0.0.1:1"]\n' $PWD; talks; } | profile reaching
$R run -q --engine fallback --best-effort processes -p ./one.toml -- /usr/bin/python3 -IS reach.py & run=$!
reaches 1010
id=$(number)
# What is said to be in force is in force: there is nothing to wait for.
for _ in 1 2 3 4 5; do
    $R reload $id -p ./two.toml
    reaches 0101
    $R reload $id -p ./one.toml
    reaches 1010
done
$R reload $id -p ./inside.toml
reaches 0100
# The filter that has the supervisor asked, or not, is for good.
refused none 'network: the filter'
refused reaching 'network: the filter'
reaches 0100
$R ps --json > list
claim list 'j[0]["profile"] == "inside" and j[0]["errors"] == 0'
echo > asks
wait $run
"#;

/// The resolver has granted what is open by name, and goes on.
const NAMES: &str = r#"
cat > reach <<'EOF'
reaches() { (exec 3<> /dev/tcp/$1/8080) 2> /dev/null && printf 1 || printf 0; }
while ! [ -e end ]; do
    echo $(reaches web.test; reaches other.test) > result/new; mv result/new result/seen
done
EOF
mkdir result
seen() { [ "$(cat result/seen)" = $1 ]; }
profile() { # name, peers
    {
        printf 'version = 1\nname = "%s"\nextends = ["coreutils"]\n' $1
        printf '[network]\nconnect = [%s]\n[files]\nwrite = ["%s/result/**", "/dev/null"]\n' "$2" $PWD
    } > $1.toml
}
profile web '"web.test:8080"'
profile again '"web.test:8080"'
profile other '"other.test:8080"'
profile both '"web.test:8080", "93.184.215.81:8080"'
profile none '"93.184.215.80:8080"'
$R run -q -p ./web.toml -- bash -c "$(cat reach)" & run=$!
until_ seen 10
id=$(number)
for one in other both none; do refused $one 'network: rules about names'; done
rm result/seen
until_ seen 10
$R reload $id -p ./again.toml
rm result/seen
until_ seen 10
$R ps --json > list
claim list 'j[0]["profile"] == "again" and j[0]["errors"] == 0'
: > end
wait $run
"#;

fn names() -> Verdict {
    let network = Network::new()?;
    let script = format!("R={}\n{PRELUDE}{TOOLS}{NAMES}", binary().display());
    network
        .run(None, &["bash", "-exc", &script])?
        .claim(true, &[])
}
