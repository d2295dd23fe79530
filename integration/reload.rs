//! Another profile for a fence that stands: its tasks come under it at once, at no moment under none, and a refusal changes nothing.

mod network;

use crate::kit::{Need, OWN_RUN_ON_HOSTS, Suite, script};

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "reload::tasks_come_under_the_new_rules_and_at_no_moment_under_none",
        &[
            Need::Root,
            Need::BpfLsm,
            Need::Program("unshare"),
            Need::Program("python3"),
        ],
        || script(&format!("{TOOLS}{FILES}{REPLACED}")),
    );
    suite.test(
        "reload::what_landlock_holds_is_refused_and_stays",
        &[
            Need::Root,
            Need::NoBpfLsm,
            Need::Landlock,
            Need::Cgroup,
            Need::Program("unshare"),
            Need::Program("python3"),
        ],
        || script(&format!("{TOOLS}{FILES}{KEPT}")),
    );
    suite.test(
        "reload::peers_are_those_of_the_new_profile",
        OWN_RUN_ON_HOSTS,
        || script(&format!("{TOOLS}{FILES}{PEERS}")),
    );
    suite.test(
        "reload::a_task_of_the_fence_is_not_heard",
        OWN_RUN_ON_HOSTS,
        || script(&format!("{TOOLS}{FILES}{INSIDE}")),
    );
    suite.test(
        "reload::who_cannot_be_asked_is_named",
        OWN_RUN_ON_HOSTS,
        || script(NOBODY),
    );
    suite.test(
        "reload::limits_are_refused_and_stay",
        OWN_RUN_ON_HOSTS,
        || script(&format!("{TOOLS}{FILES}{LIMITS}")),
    );
    network::register(suite);
}

/// What the command has seen, the fence's number, and a refusal that changes nothing.
const TOOLS: &str = r#"
sees() { [ "$(cat out/seen)" = $1 ]; }
number() { $R ps --json > list; /usr/bin/python3 -IS -c 'import json; [f] = json.load(open("list")); print(f["id"])'; }
refused() { # profile, and what the refusal says
    code=0; $R reload $id -p ./$1.toml > said 2>&1 || code=$?
    [ $code = 125 ]
    grep -q "fence $id keeps its profile: " said
    grep -q "$2" said
}
"#;

/// Profiles that read `always` and one of `first` and `second`, and a command that notes again and again what it may read.
const FILES: &str = r#"
for name in always never first second; do echo $name > $name; done
profile() { # name, and lines that follow
    { printf 'version = 1\nname = "%s"\nextends = ["coreutils"]\n' $1; cat; } > $1.toml
}
files() { printf '[files]\nread = ["%s/always", "%s/%s"]\nwrite = ["%s/out/**", "/dev/null"]\n' $PWD $PWD $1 $PWD; }
files first | profile a
files second | profile b
mkdir out
cat > loop <<'EOF'
# No file is judged before this one.
: > out/ready
while ! [ -e end ]; do
    { read x < always; } 2> /dev/null || echo 'denied what every profile allows' >> out/wrong
    { read x < never; } 2> /dev/null && echo 'allowed what no profile allows' >> out/wrong
    { read x < first; } 2> /dev/null && a=1 || a=0
    { read x < second; } 2> /dev/null && b=1 || b=0
    echo $a$b > out/new; mv out/new out/seen
done
EOF
"#;

const REPLACED: &str = r#"
$R run -q -p ./a.toml -- sh -c "$(cat loop)" & run=$!
until_ sees 10
id=$(number)
$R reload $id -p ./b.toml > said
grep -q "fence $id has the profile b " said
until_ sees 01
$R ps --json > list
claim list 'j[0]["profile"] == "b"'
# Back and forth, with the command in between.
for _ in 1 2 3; do $R reload -p ./a.toml; $R reload -p ./b.toml; done
[ ! -e out/wrong ]
until_ sees 01
# What is refused changes nothing.
{ printf '[process]\ncapabilities = ["sys_admin"]\n'; files first; } | profile capable
refused capable 'capabilities: what the tasks have dropped'
{ printf '[limits]\npids = 7\n'; files first; } | profile limited
refused limited 'limits: '
{ printf '[network]\nconnect = ["127.0.0.1:1"]\n'; files first; } | profile reaching
refused reaching 'network: the filter'
{ files first; printf '[[program]]\npath = "/usr/bin/cat"\n[program.files]\nread = ["/etc/hostname"]\n'; } | profile inside
refused inside 'programs: '
echo 'files = 3' | profile broken
refused broken 'broken.toml'
refused absent 'absent.toml'
rm out/seen
until_ sees 01
$R ps --json > list
claim list 'j[0]["profile"] == "b" and j[0]["errors"] == 0'
: > end
wait $run
[ ! -e out/wrong ]
# The next fence of its number has its own rules, and nothing of those.
$R run -q -p ./a.toml -- sh -c 'read x < first && ! { read x < second; } 2> /dev/null'
[ -z "$(ls /run/ringfence/control)" ]
"#;

const KEPT: &str = r#"
$R run -q --engine fallback -p ./a.toml -- sh -c "$(cat loop)" & run=$!
until_ sees 10
id=$(number)
refused b 'files: Landlock domains'
rm out/seen
until_ sees 10
# The same under another name is no other profile.
files first | profile c
$R reload $id -p ./c.toml
$R ps --json > list
claim list 'j[0]["profile"] == "c"'
: > end
wait $run
[ ! -e out/wrong ]
[ -z "$(ls /run/ringfence/control)" ]
"#;

/// Resource limits of processes, which every host has.
const LIMITS: &str = r#"
limited() { printf '[limits]\n'; printf '%s\n' "$@"; files first; }
limited 'open-files = 64' 'file-size = "4KiB"' | profile a
limited 'open-files = 64' 'file-size = "4KiB"' | profile same
limited 'open-files = 128' 'file-size = "4KiB"' | profile more
limited 'open-files = 32' 'file-size = "4KiB"' | profile less
limited 'open-files = 64' 'file-size = "8KiB"' | profile longer
limited 'open-files = 64' 'file-size = "4KiB"' 'time = "1h"' | profile timed
files first | profile none
cat > watch <<'EOF'
while ! [ -e end ]; do echo $(ulimit -n)/$(ulimit -f) > out/new; mv out/new out/seen; done
EOF
$R run -q -p ./a.toml -- sh -c "$(cat watch)" & run=$!
until_ sees 64/8
id=$(number)
for one in more less longer timed none; do refused $one 'limits: those of the start stay'; done
rm out/seen
until_ sees 64/8
$R reload $id -p ./same.toml
rm out/seen
until_ sees 64/8
$R ps --json > list
claim list 'j[0]["profile"] == "same"'
: > end
wait $run
"#;

const PEERS: &str = r#"
/usr/bin/python3 -IS -c '
import socket, time
own = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(one.getsockname()[1] for one in own), file=open("ports", "w"))
time.sleep(600)' & server=$!
trap 'kill $server' EXIT
until_ grep -q ' ' ports
read one two three < ports
peer() { printf '[network]\nconnect = ["127.0.0.1:%s"]\n' $1; files first; }
peer $one | profile one
peer $two | profile two
cat > reach <<EOF
reaches() { (exec 3<> /dev/tcp/127.0.0.1/\$1) 2> /dev/null && printf 1 || printf 0; }
while ! [ -e end ]; do
    now=\$(reaches $one; reaches $two; reaches $three)
    [ \${now#??} = 0 ] || echo 'reached what no profile lets it reach' >> out/wrong
    echo \$now > out/new; mv out/new out/seen
done
EOF
$R run -q -p ./one.toml -- bash -c "$(cat reach)" & run=$!
until_ sees 100
id=$(number)
$R reload $id -p ./two.toml
until_ sees 010
$R reload $id -p ./one.toml
until_ sees 100
# A resolver would have to come to stand beside it.
{ printf '[network]\nconnect = ["example.com:443", "127.0.0.1:%s"]\n' $one; files first; } | profile named
refused named 'network: rules about names'
files first | profile a
rm out/seen
until_ sees 100
: > end
wait $run
[ ! -e out/wrong ]
"#;

/// It may reach every socket, and knows where the supervisor hears.
const INSIDE: &str = r#"
cat > ask.py <<'EOF'
import json, socket, sys, time
while True:
    try: id = open("id").read().strip()
    except FileNotFoundError: id = ""
    if id: break
    time.sleep(0.05)
own = "/run/ringfence/control/" + id
try: token = open(own + ".token").read()
except OSError: token = "0" * 64
said = []
for word in (token, ""):
    asked = socket.socket(socket.AF_UNIX)
    try:
        asked.connect(own)
        asked.sendall(json.dumps({"reload": {"token": word, "profiles": ["untrusted"]}}).encode())
        asked.shutdown(socket.SHUT_WR)
        said.append(asked.recv(4096).decode())
    except OSError as error: said.append("never reached: " + str(error))
open("out/said", "w").write("\n".join(said) + "\n")
EOF
$R run -q --engine auto -p python --network open --read "$PWD" --write "$PWD/out" -- /usr/bin/python3 -IS ask.py & run=$!
trap "kill $run || true" EXIT
until_ number
number > id.new; mv id.new id
wait $run
cat out/said
[ "$(grep -cE 'never reached|"refused":"who asks does not know' out/said)" = 2 ]
"#;

const NOBODY: &str = r#"
code=0; $R reload -p untrusted 2> said || code=$?
[ $code = 125 ]
grep -q 'say which fence' said
code=0; $R reload 12345 -p untrusted 2> said || code=$?
[ $code = 125 ]
grep -q 'no fence 12345 stands' said
mkfifo end
$R run -q --read "$PWD" --write "$PWD" -- sh -c ': > ready; cat end' & run=$!
until_ [ -e ready ]
code=0; $R reload -p <(echo 'version = 1') 2> said || code=$?
[ $code = 125 ]
grep -q 'put it into a file' said
kill -9 $run
wait $run || true
code=0; $R reload -p untrusted 2> said || code=$?
[ $code = 125 ]
grep -q 'supervisor of fence .* was killed' said
: > end
gone() { $R ps --json > list; claim list 'j[0]["tasks"] == 0'; }
until_ gone
$R run -- true
[ -z "$(ls /run/ringfence/control)" ]
"#;
