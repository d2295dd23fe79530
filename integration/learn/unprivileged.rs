//! Learning without root, by stopping at every system call.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use libtest_mimic::Failed;

use super::Workshop;
use super::network::{within, without_denials};
use crate::kit::{Finished, Need, Network, PYTHON, Suite, Verdict};

/// Without root there is the fallback engine only, and a command under ptrace takes minutes where a processor is emulated.
const NEEDS: &[Need] = &[Need::Root, Need::NoBpfLsm, Need::Landlock];

/// What is learned by name is tried by root, in a network of the test's own.
const NEEDS_NAMES: &[Need] = &[
    Need::Root,
    Need::NoBpfLsm,
    Need::Landlock,
    Need::Cgroup,
    Need::Program("unshare"),
    Need::Program("ip"),
    Need::Program("curl"),
    Need::Program("setpriv"),
];

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
    suite.test(
        "learn::without_root_what_makes_a_terminal_goes_there_and_back",
        NEEDS,
        without_root_what_makes_a_terminal_goes_there_and_back,
    );
    suite.test(
        "learn::without_root_what_shares_memory_goes_there_and_back",
        NEEDS,
        without_root_what_shares_memory_goes_there_and_back,
    );
    suite.test(
        "learn::without_root_what_draws_names_in_tmp_goes_there_and_back",
        NEEDS,
        without_root_what_draws_names_in_tmp_goes_there_and_back,
    );
    suite.test(
        "learn::without_root_what_will_not_be_kept_is_told",
        NEEDS,
        without_root_what_will_not_be_kept_is_told,
    );
    suite.test(
        "learn::without_root_who_was_reached_is_learned_by_name",
        NEEDS_NAMES,
        without_root_who_was_reached_is_learned_by_name,
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

/// C libraries open the other side by a request to this one, without a name.
fn without_root_what_makes_a_terminal_goes_there_and_back() -> Verdict {
    let shop = open_workshop()?;
    let script = "import os; a, b = os.openpty(); os.write(b, b'out'); print(os.read(a, 3), os.ttyname(b)[:9])";
    let command = [PYTHON, "-c", script];
    learn(&shop, &command)?.succeeds()?;
    run(&shop, &command)?.succeeds()?.says("b'out' /dev/pts/")?;
    Ok(())
}

/// Semaphores and segments are files in `/dev/shm`, under names that are drawn; what others have there is none of the fence's.
fn without_root_what_shares_memory_goes_there_and_back() -> Verdict {
    let shop = open_workshop()?;
    let outside = tempfile::Builder::new()
        .prefix("psm_outside")
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in("/dev/shm")?;
    let script = "import multiprocessing, multiprocessing.shared_memory, os\n\
                  queue = multiprocessing.SimpleQueue(); queue.put('queued'); print(queue.get())\n\
                  shared = multiprocessing.shared_memory.SharedMemory(create=True, size=8)\n\
                  print('sees', os.access('/dev/shm/' + shared.name, os.F_OK)); shared.close(); shared.unlink()\n";
    shop.work.file("share.py", script)?;
    let command = [PYTHON, "share.py"];
    let learned = learn(&shop, &command)?;
    learned.succeeds()?.says("queued\nsees True\n")?;
    let again = run(&shop, &command)?;
    again.succeeds()?;
    again.claim(
        again.out() == learned.out(),
        "the same as when it was learned",
    )?;
    let path = outside.path().display();
    let peeps = format!("{script}print('told' if os.path.exists('{path}') else 'none')");
    shop.work.file("share.py", &peeps)?;
    run(&shop, &command)?.succeeds()?.says("none\n")?;
    Ok(())
}

/// A program that does not ask where temporary files are to be: a file, and a directory with something in it.
const DRAWS: &str = "import os, shutil, tempfile\n\
                     for place in '/tmp', '/var/tmp':\n\
                     \x20   file, name = tempfile.mkstemp(dir=place); os.write(file, b'x'); os.unlink(name)\n\
                     \x20   name = tempfile.mkdtemp(dir=place); open(name + '/file', 'w').close()\n\
                     \x20   print(os.listdir(name)); shutil.rmtree(name)\n";

fn without_root_what_draws_names_in_tmp_goes_there_and_back() -> Verdict {
    let shop = open_workshop()?;
    shop.work.file("draw.py", DRAWS)?;
    let command = [PYTHON, "draw.py"];
    let learned = learn(&shop, &command)?;
    learned.succeeds()?.says("['file']\n['file']\n")?;
    learned.claim(
        !learned.err().contains("will deny"),
        "nothing that would be denied",
    )?;
    let again = run(&shop, &command)?;
    again.succeeds()?;
    again.claim(
        again.out() == learned.out(),
        "the same as when it was learned",
    )?;
    Ok(())
}

fn without_root_what_will_not_be_kept_is_told() -> Verdict {
    let shop = open_workshop()?;
    let script = "import os, socket\n\
                  os.makedirs(os.environ['HOME'] + '/.new/d')\n\
                  one = socket.create_server(('127.0.0.1', 0)); socket.create_connection(one.getsockname())\n";
    let command = [PYTHON, "-c", script];
    learn(&shop, &command)?
        .succeeds()?
        .complains("names are made only where all of the directory may be written; not mkdir")?
        .complains("refuses a run of this profile: network would be weaker")?
        .complains("--best-effort network accepts it")?;
    run(&shop, &command)?.exits_with(125)?;
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

/// Asks by a C library, and by hand in the ways of others: by a socket that is connected or not, with each call that receives. Then by nobody.
const FETCH: &str = "
import os, socket, struct, subprocess, sys
def query(name):
    labels = b''.join(bytes([len(label)]) + label for label in name.encode().split(b'.'))
    return struct.pack('>HHHHHH', 7, 0x100, 1, 0, 0, 0) + labels + b'\\0' + struct.pack('>HH', 1, 1)
SERVER = ('127.0.0.53', 53)
def by_read(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(SERVER)
        os.write(one.fileno(), query(name))
        return os.read(one.fileno(), 512)
def by_receive_from(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(query(name), SERVER)
        return one.recvfrom(512)[0]
def by_receive_message(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendmsg([query(name)], [], 0, SERVER)
        return one.recvmsg(512)[0]
for ask, name in (by_read, 'other.test'), (by_receive_from, 'cdn.test'), (by_receive_message, 'inside.test'):
    address = socket.inet_ntoa(ask(name)[-4:])
    with socket.create_connection((address, 8080), 60) as one:
        one.sendall(b'GET /hello HTTP/1.0\\r\\n\\r\\n')
        print(name, one.recv(15).decode())
for host in ('web.test', 'hosted.test', '169.254.169.254'):
    subprocess.run(['curl', '-sS', '-m', '60', f'http://{host}:8080/hello'], check=True)
subprocess.run(['getent', 'hosts', 'gone.test'])
";

/// Learned without root, enforced with it.
const NAMES: &str = "
    set -e
    mkdir -m 777 home; export HOME=$PWD/home
    fetch='/usr/bin/python3 -IS fetch.py'
    setpriv --reuid 65534 --regid 65534 --clear-groups -- $R learn -o learned.toml -- $fetch >learned.out
    $R run -p learned.toml -- $fetch >enforced.out 2>told
    cmp learned.out enforced.out
    $R run -p learned.toml -- curl -sS -m 60 http://web.test:8081/hello && exit 1
    $R run -p learned.toml -- curl -sS -m 60 http://metadata.test:8080/hello && exit 1
    exit 0
";

fn without_root_who_was_reached_is_learned_by_name() -> Verdict {
    let network = Network::new()?;
    network.folder.file("fetch.py", FETCH)?;
    within(&network, NAMES)?;
    let profile = fs::read_to_string(network.folder.at("learned.toml"))?;
    for name in [
        "web.test",
        "cdn.test",
        "other.test",
        "inside.test",
        "hosted.test",
    ] {
        if !profile.contains(&format!("\"{name}:8080\"")) {
            return Err(format!("no rule about {name} in\n{profile}").into());
        }
    }
    let nameless = "# no name is known that leads there\n    \"169.254.169.254:8080\"";
    let is_right = profile.contains(nameless)
        && profile.contains("\"udp://gone.test:0\"")
        && !profile.contains("93.184")
        && !profile.contains("\"10.0.0.82");
    if !is_right {
        return Err(format!("learned something else:\n{profile}").into());
    }
    without_denials(&fs::read_to_string(network.folder.at("told"))?)
}
