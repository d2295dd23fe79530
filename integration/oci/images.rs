//! Images of servers and of a distribution: each is learned while it serves, then held to that while it serves again, is stopped,
//! killed and started anew, without a denial.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::bundle::Bundle;
use super::names::HostProfile;
use super::runtimes::{absent, created, nothing_names};
use crate::kit::{Folder, Need, Suite, Verdict, binary};

/// A container that serves.
struct Image {
    /// Put into its root: programs with their libraries.
    programs: &'static [&'static str],
    /// Directories and files of the host's.
    copied: &'static [&'static str],
    /// Files of its own.
    files: &'static [(&'static str, &'static str)],
    /// Run on the host before, in the root.
    prepared: &'static str,
    user: u32,
    directory: &'static str,
    command: &'static [&'static str],
    /// A client, on the host but in the container's network, and what it says.
    asks: (&'static str, &'static str),
    /// What `exec` adds, and what that says.
    added: (&'static [&'static str], &'static str),
    /// The signal at which it stops by itself.
    stop: &'static str,
}

/// In emulated machines a recording takes half a minute to begin, and a server as long to start.
macro_rules! needs {
    ($($program:literal),*) => {
        &[
            Need::Root,
            Need::Landlock,
            Need::Cgroup,
            Need::Processor,
            Need::Program("runc"),
            Need::Program("crun"),
            Need::Program("busybox"),
            Need::Program("ldd"),
            Need::Program("nsenter"),
            $(Need::Program($program)),*
        ]
    };
}

pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "oci::images::nginx_serves_as_it_was_learned",
        needs!["nginx", "curl"],
        || serves("runc", &NGINX),
    );
    suite.test(
        "oci::images::redis_serves_as_it_was_learned",
        needs!["redis-server"],
        || serves("crun", &REDIS),
    );
    suite.test(
        "oci::images::postgres_serves_as_it_was_learned",
        needs!["pg_ctlcluster", "setpriv"],
        || serves("runc", &POSTGRES),
    );
    suite.test(
        "oci::images::a_distribution_does_what_was_learned",
        needs!["bash", "dpkg-query"],
        distribution,
    );
}

const NGINX: Image = Image {
    programs: &["nginx"],
    copied: &[],
    files: &[
        ("srv/index.html", "served\n"),
        ("usr/share/nginx/none", ""),
        (
            "etc/nginx.conf",
            "daemon off; user root; error_log stderr; pid /tmp/nginx.pid; worker_processes 2; events { }\n\
             http { access_log off; client_body_temp_path /tmp/t; proxy_temp_path /tmp/t; fastcgi_temp_path /tmp/t; \
             uwsgi_temp_path /tmp/t; scgi_temp_path /tmp/t;\nserver { listen 127.0.0.1:8080; root /srv; } }\n",
        ),
    ],
    prepared: "",
    user: 0,
    directory: "/",
    command: &["nginx", "-e", "stderr", "-c", "/etc/nginx.conf"],
    asks: ("curl -sS http://127.0.0.1:8080/", "served\n"),
    added: (&["nginx", "-v"], ""),
    stop: "TERM",
};

const REDIS: Image = Image {
    programs: &["redis-server", "redis-cli"],
    copied: &[],
    files: &[],
    prepared: "chown 65534:65534 data",
    user: 65534,
    directory: "/data",
    command: &[
        "redis-server",
        "--port",
        "7799",
        "--bind",
        "127.0.0.1",
        "--save",
        "900 1",
    ],
    asks: (
        "redis-cli -p 7799 set key served >/dev/null && redis-cli -p 7799 get key && redis-cli -p 7799 save",
        "served\nOK\n",
    ),
    added: (&["redis-cli", "-p", "7799", "get", "key"], "served\n"),
    stop: "TERM",
};

/// Its data is made on the host, which is the slow part and not the server's. Its shared memory is in files of that as well: one
/// engine cannot let files be made by a pattern of their names.
const POSTGRES: Image = Image {
    programs: &["$BIN/postgres", "$BIN/psql", "/bin/sh"],
    copied: &["$LIB", "$SHARE", "/usr/share/zoneinfo/Etc"],
    files: &[],
    prepared: "d=$(mktemp -d) && chown 65534:65534 $d && \
               (cd $d && setpriv --reuid 65534 --regid 65534 --clear-groups $BIN/initdb --locale=C -D $d/data -U server -A trust --no-sync) && \
               rm -r data && mv $d/data data && rmdir $d && printf \"%s\\n\" \"port = 7797\" \"listen_addresses = '127.0.0.1'\" \
               \"unix_socket_directories = ''\" \"fsync = off\" \"timezone = GMT\" \"log_timezone = GMT\" \
               \"dynamic_shared_memory_type = mmap\" >>data/postgresql.conf",
    user: 65534,
    directory: "/data",
    command: &["$BIN/postgres", "-D", "/data"],
    asks: (
        "$BIN/pgbench -h 127.0.0.1 -p 7797 -U server -i -q postgres >/dev/null 2>&1 && \
         $BIN/pgbench -h 127.0.0.1 -p 7797 -U server -c 2 -t 20 postgres 2>/dev/null | grep processed",
        "number of transactions actually processed: 40/40\n",
    ),
    added: (
        &[
            "$BIN/psql",
            "-h",
            "127.0.0.1",
            "-p",
            "7797",
            "-U",
            "server",
            "-Atc",
            "select 6*7",
            "postgres",
        ],
        "42\n",
    ),
    stop: "INT",
};

/// Learned in two lives, one that ends by itself and one that is killed; held to that in three.
fn serves(runtime: &str, image: &Image) -> Verdict {
    let folder = Folder::new()?;
    let learned = [folder.at("one.toml"), folder.at("two.toml")];
    let mut bundle = image.bundle(&format!("ringfence-{runtime}"))?;
    for (file, how) in learned.iter().zip(["KILL", image.stop]) {
        bundle = bundle.learning(file)?;
        image.life(&bundle, how)?;
    }
    let merged = Command::new(binary())
        .args(["profile", "merge"])
        .args(&learned)
        .output()?;
    let profile = HostProfile::of(&String::from_utf8(merged.stdout)?)?;
    let bundle = image
        .bundle(&format!("ringfence-{runtime}"))?
        .named(&profile.name)?;
    for how in [image.stop, "KILL", image.stop] {
        image.life(&bundle, how)?;
        let denials = denials(bundle.id())?;
        if !denials.is_empty() {
            return Err(format!("denied, until {how}, by {}: {denials:#?}", profile.name).into());
        }
    }
    image.is_held(&bundle)?;
    absent(&bundle.cgroup()?)?;
    nothing_names(&bundle)
}

impl Image {
    fn bundle(&self, runtime: &str) -> Result<Bundle, Failed> {
        let bundle = Bundle::of(runtime, "")?.with_layout()?;
        for program in self.programs {
            bundle.program(&spelled(program)?)?;
        }
        for path in self.copied {
            bundle.copy(Path::new(&spelled(path)?))?;
        }
        for (path, text) in self.files {
            bundle.file(path, text)?;
        }
        host(&spelled(self.prepared)?, &bundle.at(""))?;
        let command: Vec<String> = self
            .command
            .iter()
            .map(|word| spelled(word))
            .collect::<Result<_, _>>()?;
        bundle.with(|value| {
            let process = &mut value["process"];
            process["args"] = json!(command);
            process["env"] = json!(["PATH=/usr/sbin:/usr/bin", "LC_ALL=C"]);
            process["cwd"] = json!(self.directory);
            // Servers change to a user of their own.
            let all = json!(["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETGID", "CAP_SETUID"]);
            process["capabilities"] =
                json!({ "bounding": all, "effective": all, "permitted": all });
            process["user"] = json!({ "uid": self.user, "gid": self.user });
            if let Some(mounts) = value["mounts"].as_array_mut() {
                mounts.push(json!({
                    "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                    "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
                }));
            }
        })
    }

    /// Created, started, asked, added to, ended by this signal, deleted.
    fn life(&self, bundle: &Bundle, signal: &str) -> Verdict {
        created(bundle)?;
        bundle.call(&["start", "@"])?.says("")?;
        self.ask(bundle)?;
        let (words, says) = self.added;
        self.exec(bundle, words)?.says(says)?;
        bundle.call(&["kill", "@", signal])?.says("")?;
        until_stopped(bundle)?;
        bundle.call(&["delete", "@"])?.says("")
    }

    fn ask(&self, bundle: &Bundle) -> Verdict {
        let (client, says) = self.asks;
        let client = format!(
            "nsenter --net=/proc/{}/ns/net sh -c '{}' 2>&1",
            bundle.pid()?,
            spelled(client)?
        );
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = host(&client, bundle.path());
            match answer {
                Ok(answer) if answer == says => return Ok(()),
                _ if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
                answer => {
                    let said = fs::read_to_string(bundle.path().join("out")).unwrap_or_default();
                    return Err(format!(
                        "{answer:?}, not {says:?}; the server said {said}\n{:#?}",
                        denials(bundle.id())
                    )
                    .into());
                }
            }
        }
    }

    fn exec(&self, bundle: &Bundle, words: &[&str]) -> Result<super::bundle::Ended, Failed> {
        let words: Vec<String> = words
            .iter()
            .map(|word| spelled(word))
            .collect::<Result<_, _>>()?;
        let all: Vec<&str> = ["exec", "@"]
            .into_iter()
            .chain(words.iter().map(String::as_str))
            .collect();
        bundle.call(&all)
    }

    /// What it never did is denied: a program that nobody ran is not executed, though it is there.
    fn is_held(&self, bundle: &Bundle) -> Verdict {
        bundle.program("id")?;
        created(bundle)?;
        bundle.call(&["start", "@"])?.says("")?;
        self.ask(bundle)?;
        let added = bundle.call(&["exec", "@", "/usr/bin/id"])?;
        added.claim(
            added.code() != Some(0) && added.out().is_empty(),
            "an exec that is denied",
        )?;
        bundle.call(&["delete", "--force", "@"])?.says("")
    }
}

/// Programs of packages, in the layout of one: links into /usr, a cache of libraries, a database of packages.
fn distribution() -> Verdict {
    const PROGRAMS: [&str; 13] = [
        "sh",
        "bash",
        "cat",
        "ls",
        "sort",
        "grep",
        "sed",
        "tar",
        "gzip",
        "dpkg-query",
        "getent",
        "mktemp",
        "rm",
    ];
    const SCRIPT: &str = "set -e; d=$(mktemp -d); dpkg-query -W -f '${Package}\\n' bash; ls -l $d | sort >$d/list; \
                          tar czf $d/etc.tgz etc; tar tzf $d/etc.tgz | grep -c passwd; getent passwd nobody; rm -r $d";
    let says = "bash\n1\nnobody:x:65534:65534::/:/bin/sh\n";
    let bundle = |runtime: &str, script: &str| -> Result<Bundle, Failed> {
        let bundle = Bundle::of(runtime, "")?.with_layout()?;
        for program in PROGRAMS {
            bundle.program(program)?;
        }
        bundle.file("etc/nsswitch.conf", "passwd: files\n")?;
        bundle.copy(Path::new("/var/lib/dpkg/status"))?;
        fs::create_dir_all(bundle.at("var/lib/dpkg/updates"))?;
        host("ldconfig -r .", &bundle.at(""))?;
        bundle.with(|value| {
            value["process"]["args"] = json!(["bash", "-c", script]);
            value["process"]["env"] = json!(["PATH=/usr/sbin:/usr/bin", "HOME=/root"]);
        })
    };
    let folder = Folder::new()?;
    let file = folder.at("learned.toml");
    bundle("ringfence-crun", SCRIPT)?
        .learning(&file)?
        .call(&["run", "@"])?
        .says(says)?;
    let profile = HostProfile::of(&fs::read_to_string(&file)?)?;
    let again = bundle("ringfence-crun", SCRIPT)?.named(&profile.name)?;
    again.call(&["run", "@"])?.says(says)?;
    let denials = denials(again.id())?;
    if !denials.is_empty() {
        return Err(format!("{denials:#?}\n{}", fs::read_to_string(&file)?).into());
    }
    let other = "sed -i s/root/toor/ /etc/passwd || echo unchanged; gzip -k /etc/passwd || echo unwritten; /opt/id || echo unexecuted";
    let other = bundle("ringfence-crun", other)?.named(&profile.name)?;
    other.program("id")?;
    fs::create_dir(other.at("opt"))?;
    fs::rename(other.at("usr/bin/id"), other.at("opt/id"))?;
    other
        .call(&["run", "@"])?
        .says("unchanged\nunwritten\nunexecuted\n")
}

fn until_stopped(bundle: &Bundle) -> Verdict {
    let deadline = Instant::now() + Duration::from_secs(60);
    while bundle.state()?["status"] != "stopped" {
        if Instant::now() > deadline {
            return Err("the container does not stop".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// What the logs of this container's fences have denied that its profile does not allow. What it allows and the engine cannot tell apart
/// (`/proc/self`, sockets that reach nobody) is told as such; that all is served without it is seen beside.
fn denials(id: &str) -> Result<Vec<Value>, Failed> {
    let mut denials = Vec::new();
    for log in fs::read_dir("/run/ringfence/log")? {
        let log = log?;
        if !log
            .file_name()
            .to_string_lossy()
            .starts_with(&format!("{id}-"))
        {
            continue;
        }
        for line in fs::read_to_string(log.path())?.lines() {
            let line: Value = serde_json::from_str(line)?;
            let by_profile = line["event"] == "denial" && line["allowed_by_profile"] == false;
            if by_profile || line["event"] == "failed" {
                denials.push(line);
            }
        }
    }
    Ok(denials)
}

/// A shell script on the host; what it says.
fn host(script: &str, folder: &Path) -> Result<String, Failed> {
    let output = Command::new("sh")
        .args(["-c", script])
        .current_dir(folder)
        .output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(told),
        false => Err(format!(
            "`{script}`: {}\n{told}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
        .into()),
    }
}

/// A word in which the directories of the server's packages are named.
fn spelled(word: &str) -> Result<String, Failed> {
    if !word.contains('$') {
        return Ok(word.to_owned());
    }
    let versions = fs::read_dir("/usr/lib/postgresql")?;
    let newest: PathBuf = versions
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>, Failed>>()?
        .into_iter()
        .max()
        .ok_or("no version")?;
    let version = newest
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Ok(word
        .replace("$BIN", &newest.join("bin").to_string_lossy())
        .replace("$LIB", &newest.join("lib").to_string_lossy())
        .replace("$SHARE", &format!("/usr/share/postgresql/{version}")))
}
