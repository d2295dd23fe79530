//! Programs of real life go there and back: builds, test runners, servers, a database. What they do is alike on every kernel, and on
//! an emulated processor it would take minutes.

use std::process::Command;

use super::Workshop;
use crate::kit::{Need, Suite, Verdict};

/// One program: what lies there before, the command that is learned and enforced, and one beside it that is denied.
struct Trip {
    name: &'static str,
    needs: &'static [Need],
    files: &'static [(&'static str, &'static str)],
    /// Runs before the enforced run: what the first has made goes.
    reset: &'static str,
    command: &'static str,
    beside: &'static str,
}

const TRIPS: &[Trip] = &[
    Trip {
        name: "learn::cargo_goes_there_and_back",
        needs: &[
            Need::Root,
            Need::Cgroup,
            Need::Processor,
            Need::Program("cargo"),
        ],
        files: &[
            (
                "Cargo.toml",
                "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
            ),
            ("src/main.rs", "mod part;\nfn main() { part::say() }\n"),
            ("src/part.rs", "pub fn say() { println!(\"built\") }\n"),
        ],
        reset: "rm -rf target",
        command: "cargo build -q --offline && target/debug/small",
        beside: "cargo build -q --offline --target-dir \"$HOME/elsewhere\"",
    },
    Trip {
        name: "learn::pytest_goes_there_and_back",
        needs: &[
            Need::Root,
            Need::Cgroup,
            Need::Processor,
            Need::Program("pytest-3"),
        ],
        files: &[(
            "test_a.py",
            "def test_a(tmp_path):\n    (tmp_path / 'x').write_text('built')\n    print((tmp_path / 'x').read_text())\n",
        )],
        reset: "rm -rf .pytest_cache __pycache__",
        command: "pytest-3 -q -s",
        beside: "pytest-3 -q -s --basetemp=\"$HOME/elsewhere\"",
    },
    Trip {
        name: "learn::nginx_goes_there_and_back",
        needs: &[
            Need::Root,
            Need::Cgroup,
            Need::Processor,
            Need::Program("nginx"),
            Need::Program("curl"),
            Need::Program("unshare"),
        ],
        files: &[
            ("html/index.html", "built\n"),
            ("html/other.html", "beside\n"),
            (
                "nginx.conf",
                "daemon off; error_log stderr; pid nginx.pid; worker_processes 2; events { }\nhttp { access_log off; \
                 client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;\n\
                 server { listen 127.0.0.1:8099; root html; } }\n",
            ),
            (
                "serve.sh",
                "nginx -p . -c nginx.conf & server=$!\n\
                 curl -sS --retry 40 --retry-delay 1 --retry-all-errors http://127.0.0.1:8099/; answer=$?\n\
                 kill $server; wait; exit $answer\n",
            ),
        ],
        reset: "",
        command: "sh serve.sh",
        beside: "cp /etc/fstab html/fstab",
    },
    Trip {
        name: "learn::redis_goes_there_and_back",
        needs: &[
            Need::Root,
            Need::Cgroup,
            Need::Processor,
            Need::Program("redis-server"),
            Need::Program("unshare"),
        ],
        files: &[(
            "serve.sh",
            "redis-server --port 7799 --bind 127.0.0.1 --save '' --daemonize no >redis.log & server=$!\n\
             sleep 0.1; tries=0\n\
             until redis-cli -p 7799 set key built 2>/dev/null >&2; do\n\
             [ $tries -lt 600 ] && kill -0 $server || { cat redis.log; exit 1; }\n\
             sleep 0.1; tries=$((tries + 1)); done\n\
             redis-cli -p 7799 get key; redis-cli -p 7799 save; redis-cli -p 7799 shutdown nosave; wait\n",
        )],
        reset: "rm -f dump.rdb redis.log",
        command: "sh serve.sh",
        beside: "redis-server --port 7798 --bind 127.0.0.1 --save ''",
    },
    Trip {
        name: "learn::everyday_tools_go_there_and_back",
        needs: &[
            Need::Root,
            Need::Cgroup,
            Need::Processor,
            Need::Program("perl"),
        ],
        files: &[("d/f", "built\n")],
        reset: "rm -rf k k.pub d.tgz",
        // Each of them asks for the name of a user, and so makes a socket; none of them reaches anybody.
        command: "set -e; tar czf d.tgz d; tar xzOf d.tgz; id -un; ls -l /usr/share >list; \
                  perl -e 'open F, q(</proc/self/status) or die; print scalar getpwuid $<'; ssh-keygen -q -t ed25519 -N '' -f k",
        beside: "tar czf d.tgz /etc/ssh",
    },
    Trip {
        name: "learn::what_makes_a_terminal_goes_there_and_back",
        needs: &[
            Need::Root,
            Need::Cgroup,
            Need::Processor,
            Need::Program("script"),
        ],
        files: &[],
        reset: "rm -f typed",
        command: "script -qec 'tty >/dev/null && echo built' typed </dev/null",
        beside: "cat /etc/fstab",
    },
    Trip {
        name: "learn::processes_that_share_memory_go_there_and_back",
        needs: &[Need::Root, Need::Cgroup, Need::Processor],
        // Semaphores and shared memory of POSIX: files in /dev/shm, under names that are drawn.
        files: &[(
            "share.py",
            "import multiprocessing, multiprocessing.shared_memory\n\
             def twice(number): return 2 * number\n\
             if __name__ == '__main__':\n\
             \x20   with multiprocessing.Pool(2) as pool: print(pool.map(twice, range(3)))\n\
             \x20   queue = multiprocessing.Queue(); queue.put('built'); print(queue.get())\n\
             \x20   shared = multiprocessing.shared_memory.SharedMemory(create=True, size=8)\n\
             \x20   shared.buf[0] = 7; other = multiprocessing.shared_memory.SharedMemory(shared.name); print(other.buf[0])\n\
             \x20   other.close(); shared.close(); shared.unlink()\n",
        )],
        reset: "",
        command: "/usr/bin/python3 share.py",
        beside: "cat /etc/fstab",
    },
    Trip {
        name: "learn::what_draws_names_in_tmp_goes_there_and_back",
        needs: &[Need::Root, Need::Cgroup],
        // Whatever TMPDIR says, as interpreters and virtual machines do.
        files: &[(
            "draw.py",
            "import os, tempfile\n\
             for place in '/tmp', '/var/tmp':\n\
             \x20   file, name = tempfile.mkstemp(dir=place); os.write(file, b'x'); os.rename(name, name + '.x'); os.unlink(name + '.x')\n\
             \x20   with tempfile.TemporaryDirectory(dir=place) as folder: open(folder + '/file', 'w').close(); os.mkdir(folder + '/d')\n\
             print('built')\n",
        )],
        reset: "",
        command: "/usr/bin/python3 draw.py",
        beside: "cat /etc/fstab",
    },
    Trip {
        name: "learn::what_lists_processes_goes_there_and_back",
        needs: &[
            Need::Root,
            Need::Cgroup,
            Need::Processor,
            Need::Program("ps"),
        ],
        files: &[],
        reset: "",
        // They list /proc, and read there by number.
        command: "set -e; ps -e -o comm= | grep -q '^ps$'; ps -o comm= -p $$ | grep -q sh; pgrep -x sh >/dev/null; \
                  lscpu | grep -q '^CPU(s)'; free | grep -q Mem; echo built",
        beside: "cat /proc/kallsyms",
    },
    Trip {
        name: "learn::what_reads_of_another_task_by_number_goes_there_and_back",
        needs: &[Need::Root, Need::Cgroup, Need::Processor],
        files: &[],
        reset: "",
        command: "set -e; sleep 60 & sleep 0.5; grep -q sleep /proc/$!/status; kill $!; echo built",
        beside: "cat /proc/kallsyms",
    },
    Trip {
        name: "learn::what_reads_of_itself_by_number_goes_there_and_back",
        needs: &[Need::Root, Need::Cgroup, Need::Processor],
        files: &[],
        reset: "",
        command: "/usr/bin/python3 -c 'import os; open(f\"/proc/{os.getpid()}/stat\").read(); print(\"built\")'",
        beside: "cat /proc/kallsyms",
    },
    Trip {
        name: "learn::a_port_that_is_handed_on_goes_there_and_back",
        needs: &[Need::Root, Need::Cgroup, Need::Processor],
        files: &[(
            "hand_on.py",
            "import socket\n\
             free = socket.socket(); free.bind(('127.0.0.1', 0)); port = free.getsockname()[1]; free.close()\n\
             server = socket.socket(); server.bind(('127.0.0.1', port)); server.listen()\n\
             socket.create_connection(('127.0.0.1', port)).close()\n\
             print('built')\n",
        )],
        reset: "",
        command: "/usr/bin/python3 hand_on.py",
        beside: "cat /etc/fstab",
    },
    Trip {
        name: "learn::what_one_run_writes_and_the_next_reads_goes_there_and_back",
        needs: &[Need::Root, Need::Cgroup, Need::Processor],
        files: &[],
        reset: "",
        command: "if [ -e state ]; then read line < state; echo $line; else echo built > state; echo built; fi",
        beside: "cat /etc/fstab",
    },
];

/// What this subject promises.
pub(super) fn register(suite: &mut Suite) {
    for trip in TRIPS {
        suite.test(trip.name, trip.needs, || there_and_back(trip));
    }
    suite.test(BROWSER.name, BROWSER.needs, || {
        there_and_back_under(&BROWSER, |profile| {
            profile.contains("\"netlink\"") && !profile.contains("mode = \"off\"")
        })
    });
    suite.test(
        "learn::postgres_goes_there_and_back",
        &[
            Need::Root,
            Need::Cgroup,
            Need::Processor,
            Need::Program("unshare"),
            Need::Program("setpriv"),
            Need::Program("pg_ctlcluster"),
        ],
        || there_and_back(&POSTGRES),
    );
}

/// It makes sockets of its own: of Unix, and of netlink for events of devices. The network stays closed.
const BROWSER: Trip = Trip {
    name: "learn::a_browser_goes_there_and_back",
    needs: &[
        Need::Root,
        Need::Cgroup,
        Need::Processor,
        Need::Program("chromium"),
    ],
    files: &[
        (
            "page.html",
            "<p id=p>empty</p><script>document.getElementById('p').textContent = 'bu' + 'ilt'</script>\n",
        ),
        (
            "browse.sh",
            "export XDG_CONFIG_HOME=$PWD/config XDG_CACHE_HOME=$PWD/cache\n\
             chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking \
             --host-resolver-rules='MAP * ~NOTFOUND' --user-data-dir=$PWD/browser --dump-dom file://$PWD/page.html 2>log | grep '<p'\n",
        ),
    ],
    reset: "rm -rf browser config cache log",
    command: "sh browse.sh",
    beside: "cat /etc/fstab",
};

/// As a user of its own, which it insists on, by TCP and by a Unix socket.
const POSTGRES: Trip = Trip {
    name: "learn::postgres_goes_there_and_back",
    needs: &[],
    files: &[(
        "serve.sh",
        "set -e; PATH=$PATH:$(echo /usr/lib/postgresql/*/bin); initdb -D data -U bench -A trust --no-sync >log\n\
         pg_ctl -D data -w -l server.log -o \"-c listen_addresses=127.0.0.1 -c port=7797 -c unix_socket_directories=$PWD\" start >>log\n\
         pgbench -h 127.0.0.1 -p 7797 -U bench -i -q postgres >>log 2>&1\n\
         pgbench -h $PWD -p 7797 -U bench -c 2 -t 20 postgres | grep processed\n\
         pg_ctl -D data -w stop >>log; echo built\n",
    )],
    reset: "rm -rf data log server.log; chmod 755 .; chown -R 65534:65534 .",
    command: "setpriv --reuid 65534 --regid 65534 --clear-groups sh serve.sh",
    beside: "setpriv --reuid 65533 --regid 65533 --clear-groups cat /etc/fstab",
};

fn there_and_back(trip: &Trip) -> Verdict {
    there_and_back_under(trip, |_| true)
}

/// Under a profile of which `is_right` holds.
fn there_and_back_under(trip: &Trip, is_right: impl Fn(&str) -> bool) -> Verdict {
    let shop = Workshop::new()?;
    for (name, text) in trip.files {
        shop.work.file(name, text)?;
    }
    let command = ["sh", "-c", trip.command];
    reset(&shop, trip)?;
    shop.learn(&[], &command)?.says("built")?;
    let profile = shop.text()?;
    if !is_right(&profile) {
        return Err(format!("learned something else:\n{profile}").into());
    }
    reset(&shop, trip)?;
    shop.works(&command)?.says("built")?;
    reset(&shop, trip)?;
    let (finished, _) = shop.enforce(&["sh", "-c", trip.beside])?;
    finished.fails()?.complains("ringfence: denied")?;
    Ok(())
}

fn reset(shop: &Workshop, trip: &Trip) -> Verdict {
    let done = Command::new("sh")
        .args(["-c", trip.reset])
        .current_dir(shop.work.path())
        .status()?;
    match done.success() {
        true => Ok(()),
        false => Err(format!("`{}` failed", trip.reset).into()),
    }
}
