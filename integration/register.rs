//! The fences of a host, seen from outside: listed, followed, counted and ended.

use crate::kit::{OWN_RUN, OWN_RUN_ON_HOSTS, Suite, script};

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "register::a_fence_is_listed_while_it_stands",
        OWN_RUN,
        || script(LISTED),
    );
    suite.test(
        "register::a_fence_whose_supervisor_was_killed_is_listed_as_such_and_collected",
        OWN_RUN_ON_HOSTS,
        || script(ABANDONED),
    );
    suite.test(
        "register::what_is_stopped_is_asked_first",
        OWN_RUN_ON_HOSTS,
        || script(ASKED),
    );
    suite.test(
        "register::what_does_not_end_is_killed_and_nobody_else",
        OWN_RUN_ON_HOSTS,
        || script(KILLED),
    );
    suite.test(
        "register::whoever_follows_hears_of_fences_that_start_later",
        OWN_RUN_ON_HOSTS,
        || script(FOLLOWED),
    );
    suite.test(
        "register::whoever_follows_one_fence_hears_of_no_other",
        OWN_RUN_ON_HOSTS,
        || script(FOLLOWED_ALONE),
    );
    suite.test(
        "register::what_happens_reaches_a_collector",
        OWN_RUN_ON_HOSTS,
        || script(COLLECTED),
    );
    suite.test(
        "register::the_metrics_count_what_was_denied",
        OWN_RUN_ON_HOSTS,
        || script(COUNTED),
    );
    suite.test(
        "register::nobody_but_root_sees_the_fences",
        OWN_RUN_ON_HOSTS,
        || script(HIDDEN),
    );
}

const LISTED: &str = r#"
$R ps --json > none
claim none 'j == []'
mkfifo end
$R run -q --read "$PWD" --write "$PWD" -- sh -c 'cat /etc/shadow; : > ready; cat end' &
run=$!
until_ [ -e ready ]
$R ps --json > list
claim list 'len(j) == 1'
claim list 'j[0]["state"] == "standing" and j[0]["profile"] == "untrusted" and j[0]["supervisor"] == '$run
claim list 'j[0]["command"][0] == "sh" and j[0]["container"] is None and j[0]["tasks"] == 2'
claim list 'j[0]["denied"] >= 1 and j[0]["errors"] == 0 and "unknown" not in j[0]'
$R ps > table
grep -q ' standing .* untrusted .* sh -c' table
: > end
wait $run
$R ps --json > none
claim none 'j == []'
[ -z "$(find /run/ringfence/fences -type f)" ]
"#;

const ABANDONED: &str = r#"
mkfifo end
$R run --read "$PWD" --write "$PWD" -- sh -c ': > ready; cat end; cat /etc/shadow' > read 2>&1 &
run=$!
until_ [ -e ready ]
kill -9 $run
wait $run || true
$R ps --json > list
claim list 'len(j) == 1 and j[0]["state"] == "abandoned" and j[0]["tasks"] == 2'
# It holds all the same.
: > end
gone() { $R ps --json > list; claim list 'j[0]["tasks"] == 0'; }
until_ gone
[ ! -s read ] || grep -q 'Permission denied' read
$R run -- true
$R ps --json > none
claim none 'j == []'
"#;

const ASKED: &str = r#"
$R run --read "$PWD" --write "$PWD" -- sh -c 'trap ": > asked; exit 3" TERM; : > ready; while :; do sleep 0.1; done' &
run=$!
until_ [ -e ready ]
$R ps --json > list
id=$(/usr/bin/python3 -IS -c 'import json; print(json.load(open("list"))[0]["id"])')
$R stop $id --time 30s > told
grep -q 'asked . process' told
if grep -q killed told; then exit 1; fi
code=0; wait $run || code=$?
[ $code = 3 ]
[ -e asked ]
$R ps --json > none
claim none 'j == []'
code=0; $R stop $id 2> told || code=$?
[ $code = 125 ]
grep -q "no fence $id stands" told
"#;

const KILLED: &str = r#"
sleep 600 & outside=$!
$R run --read "$PWD" --write "$PWD" -- sh -c 'trap "" TERM; : > ready; while :; do sleep 0.1; done' &
run=$!
until_ [ -e ready ]
$R ps --json > list
id=$(/usr/bin/python3 -IS -c 'import json; print(json.load(open("list"))[0]["id"])')
$R stop $id --time 300ms > told
grep -q 'killed' told
code=0; wait $run || code=$?
[ $code = 137 ]
kill -0 $outside
kill $outside
$R ps --json > none
claim none 'j == []'
"#;

const FOLLOWED: &str = r#"
$R events > heard & ear=$!
until_ sh -c 'ls /run/ringfence/followers/0.*'
$R run -q -- cat /etc/shadow || true
until_ grep -q '"kind":"end"' heard
claim heard '[m["kind"] for m in j][0] == "start" and [m["kind"] for m in j][-1] == "end"'
claim heard 'j[0]["profile"] == "untrusted" and j[0]["subject"] == {"command": ["cat", "/etc/shadow"]}'
claim heard 'len({m["fence"] for m in j}) == 1 and j[-1]["denied"] >= 1'
claim heard 'any(m["kind"] == "event" and m["path"] == "/etc/shadow" and m["verdict"] == "deny" for m in j)'
claim heard 'not any(m["kind"] == "hello" for m in j)'
# A supervisor that is killed cannot say so itself.
mkfifo end
$R run -q --read "$PWD" --write "$PWD" -- sh -c ': > ready; cat end' & run=$!
until_ [ -e ready ]
kill -9 $run
until_ grep -q '"kind":"abandoned"' heard
: > end
# Killed, it leaves its socket, and the next fence removes that.
kill -9 $ear
wait $ear || true
ls /run/ringfence/followers/0.*
$R run -- true
[ -z "$(ls /run/ringfence/followers)" ]
"#;

const FOLLOWED_ALONE: &str = r#"
mkfifo end
$R run -q --read "$PWD" --write "$PWD" -- sh -c ': > ready; cat end; cat /etc/shadow; exit 0' & run=$!
until_ [ -e ready ]
$R ps --json > list
id=$(/usr/bin/python3 -IS -c 'import json; print(json.load(open("list"))[0]["id"])')
$R events $id > heard & ear=$!
until_ grep -q '"kind":"standing"' heard
$R run -q -- cat /etc/shadow || true
: > end
wait $run
until_ grep -q '"kind":"end"' heard
claim heard '{m["fence"] for m in j} == {'$id'}'
claim heard 'sum(m["kind"] == "event" and m["path"] == "/etc/shadow" for m in j) == 1'
kill $ear
"#;

/// Text stands in protobuf as it is.
const COLLECTED: &str = r#"
cat > collector.py <<'END'
import http.server
import os

class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open("collected", "ab") as collected:
            collected.write(self.path.encode() + b"\n" + body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

server = http.server.HTTPServer(("127.0.0.1", 0), Collector)
with open("port.new", "w") as port:
    port.write(str(server.server_port))
os.rename("port.new", "port")
server.serve_forever()
END
/usr/bin/python3 -IS collector.py 2> requests & collector=$!
until_ [ -e port ]
$R events --otlp "http://127.0.0.1:$(cat port)" 2> told & ear=$!
until_ sh -c 'ls /run/ringfence/followers/0.*'
$R run -q -- cat /etc/shadow || true
until_ grep -aq 'event deny open /etc/shadow' collected
kill -TERM $ear
wait $ear
[ ! -s told ]
[ -z "$(ls /run/ringfence/followers)" ]
grep -aq '/v1/logs' collected
grep -aq 'untrusted' collected
# A collector that is gone is said.
kill $collector
wait $collector || true
$R events --otlp "http://127.0.0.1:$(cat port)" 2> told & ear=$!
until_ sh -c 'ls /run/ringfence/followers/0.*'
$R run -q -- true
until_ grep -q 'did not arrive at' told
kill -TERM $ear
wait $ear
"#;

const COUNTED: &str = r#"
$R metrics > none
grep -qx 'ringfence_fences 0' none
mkfifo end
$R run -q --read "$PWD" --write "$PWD" -- sh -c 'cat /etc/shadow; : > ready; cat end' & run=$!
until_ [ -e ready ]
$R metrics > text
grep -qx 'ringfence_fences 1' text
grep -q '^ringfence_fence{.*profile="untrusted".*subject="sh".*} 1$' text
grep -q '^ringfence_fence_tasks{id="[0-9]*"} 2$' text
grep -q '^ringfence_fence_denied_total{id="[0-9]*"} [1-9]' text
grep -q '^ringfence_missed_total{version=".*"} 0$' text
: > end
wait $run
"#;

const HIDDEN: &str = r#"
$R run -- true
for verb in ps metrics events 'stop 1'; do
    code=0
    setpriv --reuid 65534 --regid 65534 --clear-groups -- $R $verb 2> told || code=$?
    [ $code = 125 ]
    cat told
done
"#;
