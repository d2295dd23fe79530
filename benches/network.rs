//! What a fence costs on the network: connections and datagrams to loopback, by a rule about the address and by a rule about a
//! name that led there, and requests to a web server inside, next to the same without a fence.
//!
//! Rounds are paired: in each one every contestant runs once, in turn, and ratios are taken round by round. All of it happens in
//! a network namespace of its own. `ROUNDS` says how many, `ONLY=sockets` or `ONLY=web` which half. Run as root by
//! `cargo bench --bench network`; in a machine by `cargo xtask vm --kernel 6.12 -- target/release/deps/network-...`. The web
//! server is left out where nginx or wrk are not installed.

use std::{
    env, fs,
    io::Read as _,
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Says to this program that it is inside, and what to do there.
const PROBE: &str = "--probe";
/// Says that this is the network namespace.
const ALONE: &str = "--alone";
const NAME: &str = "bench.test";

fn main() {
    let arguments: Vec<_> = env::args().collect();
    if let Some(at) = arguments.iter().position(|word| word == PROBE) {
        return probe(&arguments[at + 1..]);
    }
    let place = tempfile::tempdir_in("/var/tmp").expect("a temporary directory");
    if !arguments.iter().any(|word| word == ALONE) {
        return alone(place.path());
    }
    let rounds = number("ROUNDS", 15);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!("kernel {}", kernel.trim());
    let only = env::var("ONLY").unwrap_or_default();
    if only != "web" {
        sockets(rounds, place.path());
    }
    if only != "sockets" {
        web(rounds, place.path());
    }
}

fn number(variable: &str, default: usize) -> usize {
    let given = env::var(variable).ok().and_then(|text| text.parse().ok());
    given.unwrap_or(default)
}

fn own_path() -> String {
    let path = env::current_exe().expect("the path of this program");
    path.display().to_string()
}

/// Starts this program again where nobody else is, and where [`NAME`] leads to loopback.
fn alone(place: &Path) {
    let hosts = place.join("hosts");
    fs::write(&hosts, format!("127.0.0.1 localhost {NAME}\n")).expect("a file of hosts");
    let script = "set -e; ip link set lo up; mount --bind \"$1\" /etc/hosts; shift; exec \"$@\"";
    let ended = Command::new("unshare")
        .args(["--net", "--mount", "--", "sh", "-c", script, "sh"])
        .arg(&hosts)
        .arg(own_path())
        .arg(ALONE)
        .status();
    assert!(
        ended.expect("unshare runs").success(),
        "the benchmark failed"
    );
}

/// One way to put something before a command.
struct Contestant {
    name: &'static str,
    prefix: Vec<String>,
}

/// The profile for this program as the probe, and the fences with it.
fn contestants(place: &Path, port: u16) -> Vec<Contestant> {
    let own = own_path();
    let profile = place.join("probe.toml");
    let text = format!(
        "version = 1\nextends = [\"base\"]\n[files]\nread = [\"{own}\"]\nexec = [\"{own}\"]\n"
    );
    fs::write(&profile, text).expect("a profile");
    let profile = profile.display().to_string();
    let fenced = |rule: String| {
        let words = [ringfence(), "run", "-p", &profile, "--connect", &rule, "--"];
        words.map(str::to_owned).to_vec()
    };
    vec![
        Contestant {
            name: "native",
            prefix: Vec::new(),
        },
        Contestant {
            name: "by address",
            prefix: fenced(format!("127.0.0.1:{port}")),
        },
        Contestant {
            name: "by name",
            prefix: fenced(format!("{NAME}:{port}")),
        },
    ]
}

fn ringfence() -> &'static str {
    env!("CARGO_BIN_EXE_ringfence")
}

/// Nanoseconds of each act, measured by the probe from inside.
fn sockets(rounds: usize, place: &Path) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("a socket");
    thread::spawn(move || listener.incoming().for_each(drop));
    thread::spawn(move || while datagrams.recv(&mut [0; 64]).is_ok() {});
    let contestants = contestants(place, port);
    for (act, title) in [("tcp", "TCP connect+close"), ("udp", "UDP sendto")] {
        let mut times = vec![Vec::new(); contestants.len()];
        for _ in 0..rounds {
            for (contestant, times) in contestants.iter().zip(&mut times) {
                let probe = [
                    own_path(),
                    PROBE.to_owned(),
                    act.to_owned(),
                    port.to_string(),
                ];
                let words: Vec<_> = contestant.prefix.iter().chain(&probe).collect();
                let output = Command::new(words[0])
                    .args(&words[1..])
                    .stdin(Stdio::null())
                    .output()
                    .expect("the probe runs");
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let time = text.trim().parse();
                times.push(time.unwrap_or_else(|_| panic!("{}: {output:?}", contestant.name)));
            }
        }
        let names = contestants.iter().map(|contestant| contestant.name);
        table(title, "ns", names, &times);
    }
}

/// Asks for the name, whether there is somebody who answers or not, then does one thing many times and prints the nanoseconds
/// of one.
fn probe(words: &[String]) {
    let port: u16 = words[1].parse().expect("a port");
    look_up();
    let peer = (Ipv4Addr::LOCALHOST, port);
    let took = match words[0].as_str() {
        "tcp" => {
            let connect = || drop(TcpStream::connect(peer).expect("a connection"));
            // The server has taken all before it when it closes this one: none finds the queue full.
            let taken = || {
                let mut last = TcpStream::connect(peer).expect("a connection");
                last.read_to_end(&mut Vec::new()).ok();
            };
            timed(50, connect, taken)
        }
        _ => {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
            let send = || assert_eq!(socket.send_to(b"x", peer).expect("a datagram"), 1);
            timed(500, send, || ())
        }
    };
    println!("{took}");
}

/// Nanoseconds of one act in the fastest of 40 batches, which nobody has disturbed; between them `rest` is done.
fn timed(batch: u32, act: impl Fn(), rest: impl Fn()) -> u128 {
    let times = (0..40).map(|_| {
        rest();
        let began = Instant::now();
        (0..batch).for_each(|_| act());
        began.elapsed().as_nanos() / u128::from(batch)
    });
    times.min().expect("batches")
}

/// A query for [`NAME`] (RFC 1035, section 4.1): what opens its address under a rule about the name. Without one nobody is there,
/// or reaching them is denied.
fn look_up() {
    let mut query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    for label in NAME.split('.') {
        query.push(u8::try_from(label.len()).expect("a label"));
        query.extend(label.as_bytes());
    }
    query.extend(b"\0\0\x01\0\x01");
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    let server = (Ipv4Addr::LOCALHOST, 53);
    if socket
        .connect(server)
        .and_then(|()| socket.send(&query))
        .is_ok()
    {
        socket.recv(&mut [0; 512]).ok();
    }
}

/// Requests a second that wrk, outside, gets out of nginx: of two servers outside, which tell the noise, and of one inside.
fn web(rounds: usize, place: &Path) {
    let found = |program: &str| {
        let path = env::var_os("PATH").unwrap_or_default();
        let places = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        places
            .map(|place| place.join(program))
            .find(|path| path.is_file())
    };
    let (Some(nginx), Some(wrk)) = (found("nginx"), found("wrk")) else {
        return println!("nginx and wrk are not installed: left out");
    };
    let servers = [
        Server::start(place, &nginx, 8001, false),
        Server::start(place, &nginx, 8002, false),
        Server::start(place, &nginx, 8003, true),
    ];
    let mut rates = vec![Vec::new(); servers.len()];
    for _ in 0..rounds {
        for (server, rates) in servers.iter().zip(&mut rates) {
            let output = Command::new(&wrk)
                .args([
                    "-t1",
                    "-c16",
                    "-d1s",
                    &format!("http://127.0.0.1:{}/file", server.port),
                ])
                .output()
                .expect("wrk runs");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let rate = text
                .split("Requests/sec:")
                .nth(1)
                .and_then(|rest| rest.split_whitespace().next());
            let clean = !text.contains("Non-2xx") && !text.contains("Socket errors");
            let rate = rate.filter(|_| clean).and_then(|rate| rate.parse().ok());
            rates.push(rate.unwrap_or_else(|| panic!("{text}")));
        }
    }
    table(
        "nginx, wrk -c16",
        "requests/s",
        ["native", "native again", "inside"].into_iter(),
        &rates,
    );
}

/// nginx with one process and one file, ended with its handle.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start(place: &Path, nginx: &Path, port: u16, is_fenced: bool) -> Self {
        let root = place.join(format!("web-{port}"));
        fs::create_dir(&root).expect("a directory");
        fs::write(root.join("file"), vec![b'x'; 1024]).expect("a file");
        let here = root.display();
        let configuration = format!(
            "user root; daemon off; master_process off; pid {here}/pid; error_log stderr;\nevents {{ worker_connections 64; }}\n\
             http {{ access_log off; client_body_temp_path {here}/a; proxy_temp_path {here}/b; fastcgi_temp_path {here}/c;\n\
             uwsgi_temp_path {here}/d; scgi_temp_path {here}/e; keepalive_requests 1000000000;\n\
             server {{ listen 127.0.0.1:{port}; root {here}; }} }}\n"
        );
        fs::write(root.join("conf"), configuration).expect("a configuration");
        let listen = format!("127.0.0.1:{port}");
        let folder = here.to_string();
        let fence = [
            ringfence(),
            "run",
            "--read",
            &folder,
            "--write",
            &folder,
            "--listen",
            &listen,
            "--",
        ];
        let server = [
            nginx.to_str().expect("text"),
            "-e",
            "stderr",
            "-c",
            &format!("{here}/conf"),
        ];
        let words: Vec<_> = match is_fenced {
            true => fence.into_iter().chain(server).collect(),
            false => server.to_vec(),
        };
        let mut process = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nginx starts");
        let is_up = (0..600).any(|_| {
            thread::sleep(Duration::from_millis(100));
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        if !is_up {
            process.kill().ok();
            let mut text = String::new();
            let errors = process.stderr.take();
            errors.expect("a pipe").read_to_string(&mut text).ok();
            panic!("nginx does not answer: {text}");
        }
        Self { process, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, which a fence forwards.
        let ended = Command::new("kill")
            .arg(self.process.id().to_string())
            .status();
        if ended.is_ok() {
            self.process.wait().ok();
        }
    }
}

fn table<'a>(title: &str, unit: &str, names: impl Iterator<Item = &'a str>, values: &[Vec<f64>]) {
    for (name, values_here) in names.zip(values) {
        let pairs = values_here.iter().zip(&values[0]);
        let ratios = pairs.map(|(one, native)| one / native).collect();
        println!(
            "{title:<20} {name:<12} {:>9.0} {unit}   {:>7.3} x native",
            median(values_here.clone()),
            median(ratios)
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
