//! Unix sockets without BPF LSM: who is reached by `ringfence run` where the supervisor connects, and who is not, whatever the
//! command tries.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use ringfence::confine::Probe;
use ringfence::kernel::Host;

use crate::kit::{Fence, Finished, Need, PYTHON, Suite, Verdict};

const NEEDS: &[Need] = &[Need::Root, Need::Cgroup, Need::Landlock];
const NEEDS_TIME: &[Need] = &[Need::Root, Need::Cgroup, Need::Landlock, Need::Processor];
/// The prober, in the folder.
const PROBE: &str = "trial/unix.py";
/// How long something of another process is waited for before it is taken for lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first Landlock ABI that judges by itself.
const ABI_BY_ITSELF: u32 = 9;

/// A test's name, and what it does.
type Test = (&'static str, fn() -> Verdict);

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    let tests: [Test; 4] = [
        ("unix::a_path_is_reached_by_a_rule_about_it_alone", by_path),
        ("unix::links_lead_where_a_rule_allows_it", by_link),
        ("unix::the_peer_sees_who_connects", credentials),
        ("unix::what_cannot_be_judged_is_closed_and_told", told),
    ];
    for (name, test) in tests {
        suite.test(name, NEEDS, test);
    }
    suite.test(
        "unix::without_a_supervisor_nobody_is_reached",
        NEEDS_TIME,
        orphaned,
    );
    suite.test("unix::no_race_leads_elsewhere", NEEDS_TIME, races);
    suite.test("unix::who_waits_keeps_nobody_waiting", NEEDS_TIME, crowds);
}

/// Whether the supervisor connects on this kernel.
fn is_supervised() -> bool {
    Host::probe().version() >= (6, 7)
}

/// A fence of the fallback engine that may reach these.
fn fence(rules: &[&str]) -> Result<Fence, Failed> {
    let fence = Fence::with("read = [\"@/trial/unix.py\", \"@/open/**\"]\nwrite = [\"@/own/**\"]")?;
    fence.folder().file(PROBE, include_str!("unix.py"))?;
    for folder in ["open", "own", "shut"] {
        std::fs::create_dir(fence.at(folder))?;
    }
    let at = fence.folder().path().display().to_string();
    let rules = rules
        .iter()
        .flat_map(|rule| ["--unix".to_owned(), rule.replace("FOLDER", &at)]);
    // Where Landlock does not scope signals, that is another matter.
    let options = ["--engine", "fallback", "--best-effort", "processes"];
    Ok(fence.and(options).and(rules))
}

fn run(fence: &Fence, acts: &[String]) -> Result<Finished, Failed> {
    let probe = fence.run([PYTHON, "-IS", PROBE]);
    probe.and(acts.iter().map(String::as_str)).run()
}

/// Each act ends as claimed.
fn tries(fence: &Fence, acts: &[(String, &str)]) -> Result<Finished, Failed> {
    let tried: Vec<String> = acts.iter().map(|(act, _)| act.clone()).collect();
    let finished = run(fence, &tried)?;
    let out = finished.out();
    let ended: Vec<&str> = out.lines().collect();
    let expected: Vec<&str> = acts.iter().map(|(_, end)| *end).collect();
    finished.claim(ended == expected, &format!("other ends than {acts:#?}"))?;
    Ok(finished)
}

/// Somebody outside who answers, and counts who came.
struct Server {
    came: Arc<AtomicUsize>,
}

impl Server {
    fn at(path: &Path) -> Result<Self, Failed> {
        Ok(Self::of(UnixListener::bind(path)?))
    }

    fn named(name: &str) -> Result<Self, Failed> {
        let address = SocketAddr::from_abstract_name(name.as_bytes())?;
        Ok(Self::of(UnixListener::bind_addr(&address)?))
    }

    /// Its thread ends with the test's process.
    fn of(listener: UnixListener) -> Self {
        let came = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&came);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let Ok(stream) = stream else { continue };
                std::thread::spawn(move || answer(stream));
            }
        });
        Self { came }
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

/// Says each byte again; after a `w` also who is there.
fn answer(mut stream: UnixStream) {
    let mut byte = [0];
    while matches!(stream.read(&mut byte), Ok(1)) {
        let mut said = byte.to_vec();
        if byte == *b"w"
            && let Ok(who) = getsockopt(&stream, PeerCredentials)
        {
            said.extend(format!("{} {}", who.uid(), who.gid()).bytes());
        }
        if stream.write_all(&said).is_err() {
            return;
        }
    }
}

fn by_path() -> Verdict {
    if !is_supervised() {
        return told();
    }
    let id = std::process::id();
    let fence = fence(&[
        "FOLDER/open/*",
        &format!("@rf-unix-open-{id}"),
        "FOLDER/nobody/**",
    ])?;
    let at = |name: &str| fence.at(name).display().to_string();
    let open = Server::at(&fence.at("open/stream"))?;
    let shut = Server::at(&fence.at("shut/docker.sock"))?;
    let open_name = Server::named(&format!("rf-unix-open-{id}"))?;
    let shut_name = Server::named(&format!("rf-unix-open-{id}x"))?;
    let datagrams = UnixDatagram::bind(fence.at("open/datagram"))?;
    let shut_datagrams = UnixDatagram::bind(fence.at("shut/datagram"))?;
    let folder = at("open");
    let acts = [
        (format!("stream {}", at("open/stream")), "ok"),
        (format!("impatient {}", at("open/stream")), "ok"),
        (format!("stream {}", at("shut/docker.sock")), "denied"),
        (format!("impatient {}", at("shut/docker.sock")), "denied"),
        (format!("datagram {}", at("open/datagram")), "ok"),
        (format!("datagram {}", at("shut/datagram")), "denied"),
        // A datagram that names its peer is not seen in time.
        (format!("named {}", at("open/datagram")), "denied"),
        (format!("message {}", at("shut/datagram")), "denied"),
        (format!("stream {}", at("nobody/there")), "ENOENT"),
        (format!("stream {}", at("shut/nobody")), "ENOENT"),
        (format!("own {}", at("own/listener")), "ok"),
        (format!("stream @rf-unix-open-{id}"), "ok"),
        (format!("stream @rf-unix-open-{id}x"), "denied"),
        (format!("again {}", at("open/stream")), "EISCONN"),
        ("foreign nobody".to_owned(), "EINVAL"),
        // Last, for it changes the directory.
        (format!("relative {folder} stream"), "ok"),
        (format!("relative {folder} ../shut/docker.sock"), "denied"),
    ];
    let finished = tries(&fence, &acts)?;
    drop((datagrams, shut_datagrams));
    finished.complains(&format!("denied connect-unix {}", at("shut/docker.sock")))?;
    let came = [&open, &shut, &open_name, &shut_name].map(Server::came);
    let right = came[0] == 4 && came[1] == 0 && came[2] == 1 && came[3] == 0;
    finished.claim(right, &format!("others came: {came:?}"))?;
    Ok(())
}

fn by_link() -> Verdict {
    if !is_supervised() {
        return told();
    }
    let fence = fence(&["FOLDER/open/*"])?;
    let at = |name: &str| fence.at(name).display().to_string();
    let open = Server::at(&fence.at("open/stream"))?;
    let shut = Server::at(&fence.at("shut/stream"))?;
    symlink(fence.at("shut/stream"), fence.at("open/leads-out"))?;
    symlink(fence.at("open/stream"), fence.at("shut/leads-in"))?;
    symlink("../shut", fence.at("open/folder"))?;
    let acts = [
        (format!("stream {}", at("shut/leads-in")), "ok"),
        (format!("stream {}", at("open/leads-out")), "denied"),
        (format!("stream {}", at("open/folder/stream")), "denied"),
        (format!("stream {}", at("open/../shut/stream")), "denied"),
        (format!("by-root {}", at("open/stream")), "denied"),
        (format!("by-root {}", at("shut/stream")), "denied"),
        (format!("by-descriptor {}", at("open/stream")), "denied"),
    ];
    let finished = tries(&fence, &acts)?;
    finished.claim(open.came() == 1 && shut.came() == 0, "others came")?;
    Ok(())
}

/// And permission bits hold as they do without the supervisor.
fn credentials() -> Verdict {
    if !is_supervised() {
        return told();
    }
    for (user, ids) in [("root", "0 0"), ("nobody", "65534 65534")] {
        let fence = fence(&["FOLDER/open/**"])?.and(["--user", user]);
        let at = |name: &str| fence.at(name).display().to_string();
        for folder in ["", "open", "trial"] {
            std::fs::set_permissions(fence.at(folder), PermissionsExt::from_mode(0o755))?;
        }
        std::fs::create_dir(fence.at("open/inner"))?;
        std::fs::set_permissions(fence.at("open/inner"), PermissionsExt::from_mode(0o700))?;
        let servers = [
            Server::at(&fence.at("open/stream"))?,
            Server::at(&fence.at("open/mine"))?,
            Server::at(&fence.at("open/inner/stream"))?,
        ];
        for (socket, mode) in [("stream", 0o666), ("mine", 0o600), ("inner/stream", 0o666)] {
            let path = fence.at(&format!("open/{socket}"));
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
        }
        let end = if user == "root" { "ok" } else { "denied" };
        let acts = [
            (format!("seen {}", at("open/stream")), format!("{ids} ok")),
            (format!("stream {}", at("open/mine")), end.to_owned()),
            (
                format!("stream {}", at("open/inner/stream")),
                end.to_owned(),
            ),
        ];
        let acts: Vec<_> = acts
            .iter()
            .map(|(act, end)| (act.clone(), &end[..]))
            .collect();
        let finished = tries(&fence, &acts)?;
        let came = usize::from(user == "root");
        let others = servers[1].came() + servers[2].came();
        finished.claim(others == 2 * came, "permission bits do not hold")?;
    }
    Ok(())
}

fn races() -> Verdict {
    if !is_supervised() {
        return told();
    }
    let fence = fence(&["FOLDER/open/*"])?;
    let at = |name: &str| fence.at(name).display().to_string();
    let open = Server::at(&fence.at("open/stream"))?;
    let shut = Server::at(&fence.at("shut/stream"))?;
    let (path, other) = (at("open/stream"), at("shut/stream"));
    let acts = [
        (
            format!("swapped-link {} {path} {other}", at("own/link")),
            "ok",
        ),
        (format!("swapped-address {path} {other}"), "ok"),
        (format!("swapped-socket {path} {other}"), "ok"),
    ];
    let finished = tries(&fence, &acts)?;
    let came = (open.came(), shut.came());
    // Some get there, or nothing was tried.
    finished.claim(came.0 > 0 && came.1 == 0, &format!("others came: {came:?}"))?;
    Ok(())
}

fn crowds() -> Verdict {
    if !is_supervised() {
        return told();
    }
    let fence = fence(&["FOLDER/open/*"])?;
    let at = |name: &str| fence.at(name).display().to_string();
    let full = UnixListener::bind(fence.at("open/full"))?;
    let address = full.local_addr()?;
    nix::sys::socket::listen(&full, nix::sys::socket::Backlog::new(0)?)?;
    // Room for one, who is never spoken to.
    let first = UnixStream::connect_addr(&address)?;
    let _open = Server::at(&fence.at("open/stream"))?;
    let act = format!("crowd {} {}", at("open/full"), at("open/stream"));
    tries(&fence, &[(act, "ok")])?;
    drop((first, full));
    Ok(())
}

/// The fence stands when its supervisor is killed, and closed.
fn orphaned() -> Verdict {
    if !is_supervised() {
        return told();
    }
    let fence = fence(&["FOLDER/open/*"])?;
    let open = Server::at(&fence.at("open/stream"))?;
    let (own, path) = (fence.at("own"), fence.at("open/stream"));
    let act = format!("orphaned {} {}", own.display(), path.display());
    let mut command = fence.run([PYTHON, "-IS", PROBE, &act]).command();
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut supervisor = command.spawn()?;
    appears(&own.join("ready"))?;
    supervisor.kill()?;
    supervisor.wait()?;
    std::fs::write(own.join("go"), "")?;
    let end = appears(&own.join("end"))?;
    match (&end[..], open.came()) {
        ("ENOSYS", 0) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

/// Waits for a file, and reads it.
fn appears(path: &Path) -> Result<String, Failed> {
    let start = Instant::now();
    while !path.exists() {
        if start.elapsed() > PATIENCE {
            return Err(format!("{} does not appear", path.display()).into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(std::fs::read_to_string(path)?)
}

/// Without a rule about one, or on a kernel that cannot judge them, no Unix socket is made, and the standing says so.
fn told() -> Verdict {
    let supervised = is_supervised();
    let by_itself = Probe::without_namespaces()?.landlock_abi >= ABI_BY_ITSELF;
    let without = fence(&[])?;
    let fence = fence(&["FOLDER/open/*"])?;
    let _open = Server::at(&fence.at("open/stream"))?;
    let path = fence.at("open/stream").display().to_string();
    let reached = if supervised { "ok" } else { "denied" };
    tries(&fence, &[(format!("stream {path}"), reached)])?;
    if by_itself {
        return Ok(());
    }
    tries(&without, &[(format!("stream {path}"), "denied")])?;
    // That a socket is not made is news where the command fails for it.
    let made = |fence: &Fence| {
        fence
            .run([PYTHON, "-IS", "-c", "import socket; socket.socket(1)"])
            .run()
    };
    let finished = made(&without)?;
    finished
        .fails()?
        .complains("Unix sockets are closed but for stream pairs")?;
    if supervised {
        made(&fence)?.succeeds()?;
        return Ok(());
    }
    made(&fence)?.fails()?;
    let finished = fence.and(["--dry-run"]).run(["true"]).run()?;
    finished.complains("older than 6.7")?;
    Ok(())
}
