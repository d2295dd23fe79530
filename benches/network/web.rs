//! Requests to nginx, inside and outside, asked by wrk from outside: of a second server outside too, which tells the noise. Each
//! server is started in a cgroup of its own, as a fence and a service manager have it: the root's memory nobody counts. Left out
//! where nginx and wrk are not installed.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use ringfence::confine::CgroupPlace;

use crate::kit::contestant::Contestant;
use crate::kit::{rounds, rows::What};

/// Microseconds of a request by wrk's clock, and of the server's processor time.
pub(crate) fn all(times: usize, place: &Path) {
    let (Some(nginx), Some(wrk)) = (found("nginx"), found("wrk")) else {
        return println!("nginx and wrk are not installed: left out");
    };
    let mut servers: Vec<_> = (8001..)
        .zip(contestants(8000, place))
        .map(|(port, contestant)| Server::start(place, &nginx, port, contestant.name))
        .collect();
    servers.insert(1, Server::start(place, &nginx, 8000, "native"));
    let mut names: Vec<_> = servers.iter().map(|server| server.name).collect();
    names[1] = "native again";
    let what = |name| What {
        section: "network",
        name,
        unit: "us",
    };
    let own = RefCell::new(vec![Vec::new(); servers.len()]);
    rounds(what("request to nginx"), &names, times, |number| {
        let server = &servers[number];
        let before = server.processor_time();
        let requests = ask(&wrk, server.port)?;
        let spent = (server.processor_time() - before) / requests.count;
        own.borrow_mut()[number].push(spent);
        Ok(1e6 / requests.rate)
    });
    // The same requests: what each round has found, in its order.
    let own = own.into_inner();
    let mut next = vec![0; servers.len()];
    let what = what("request, nginx itself");
    rounds(what, &names, times, |number| {
        next[number] += 1;
        let found = own[number].get(next[number] - 1).copied();
        found.ok_or_else(|| "it failed before".to_owned())
    });
}

/// Who is compared: what makes each call many times as long is left out.
fn contestants(port: u16, root: &Path) -> Vec<Contestant> {
    let listen = format!("127.0.0.1:{port}");
    let words: [OsString; 6] = [
        "--read".into(),
        root.into(),
        "--write".into(),
        root.into(),
        "--listen".into(),
        listen.into(),
    ];
    let mut all = Contestant::all(&words, root);
    all.retain(|contestant| !["strace", "firejail"].contains(&contestant.name));
    all
}

fn found(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places
        .map(|place| place.join(program))
        .find(|path| path.is_file())
}

/// What wrk has counted.
struct Requests {
    count: f64,
    /// A second.
    rate: f64,
}

/// Lets wrk ask for a second; where there are two processors it has the second for itself.
fn ask(wrk: &Path, port: u16) -> Result<Requests, String> {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(other_processor()).arg(wrk);
    command.args(["-t1", "-c16", "-d1s"]);
    command.arg(format!("http://127.0.0.1:{port}/file"));
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let clean = !text.contains("Non-2xx") && !text.contains("Socket errors");
    let number = |line: &str, at: usize| {
        let line = text.lines().find(|one| clean && one.contains(line))?;
        line.split_whitespace().nth(at)?.parse().ok()
    };
    let found = (number(" requests in ", 0), number("Requests/sec:", 1));
    match found {
        (Some(count), Some(rate)) => Ok(Requests { count, rate }),
        _ => Err(text),
    }
}

fn other_processor() -> String {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    (processors - 1).to_string()
}

/// nginx with one process and one file, ended with its handle.
struct Server {
    process: Child,
    name: &'static str,
    port: u16,
    cgroup: PathBuf,
    /// nginx itself, behind whatever was put before it.
    nginx: String,
}

impl Server {
    fn start(place: &Path, nginx: &Path, port: u16, name: &'static str) -> Self {
        let root = place.join(port.to_string());
        fs::create_dir(&root).expect("a directory");
        fs::write(root.join("file"), vec![b'x'; 1024]).expect("a file");
        let here = root.display();
        let configuration = format!(
            "user root; daemon off; master_process off; pid {here}/pid; error_log stderr;\nevents {{ worker_connections 64; }}\n\
             http {{ access_log off; client_body_temp_path {here}/a; proxy_temp_path {here}/b; fastcgi_temp_path {here}/c;\n\
             uwsgi_temp_path {here}/d; scgi_temp_path {here}/e; keepalive_requests 1000000000;\n\
             server {{ listen 127.0.0.1:{port}; root {here}; }} }}\n"
        );
        let file = root.join("conf");
        fs::write(&file, configuration).expect("a configuration");
        let words = ["taskset", "-c", "0"].map(OsString::from);
        let mut words = words.to_vec();
        words.extend([nginx.into(), "-e".into(), "stderr".into(), "-c".into()]);
        words.push(file.into());
        let contestant = contestants(port, &root);
        let contestant = contestant.iter().find(|one| one.name == name);
        let started = contestant.expect("its name").command(&words);
        let place = CgroupPlace::find().ok().flatten();
        let place = place.expect("a hierarchy of version 2");
        let name_of_it = format!("bench-{}-{port}", std::process::id());
        let cgroup = place.directory().join(name_of_it);
        fs::create_dir(&cgroup).expect("a cgroup");
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]);
        command.arg(&cgroup).arg(started.get_program());
        command.args(started.get_args()).stdin(Stdio::null());
        let mut process = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let is_up = (0..600).any(|_| {
            thread::sleep(Duration::from_millis(100));
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        let nginx = fs::read_to_string(root.join("pid"));
        let (true, Ok(nginx)) = (is_up, nginx) else {
            process.kill().ok();
            let mut text = String::new();
            let errors = process.stderr.take();
            errors.expect("a pipe").read_to_string(&mut text).ok();
            panic!("nginx does not answer behind {name}: {text}");
        };
        Self {
            process,
            name,
            port,
            cgroup,
            nginx: nginx.trim().to_owned(),
        }
    }

    /// Microseconds (Documentation/scheduler/sched-stats.rst: nanoseconds on the processor come first).
    fn processor_time(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.nginx));
        let text = text.expect("nginx runs");
        let nanoseconds = text.split_whitespace().next();
        let nanoseconds: f64 = nanoseconds.and_then(|word| word.parse().ok()).expect("it");
        nanoseconds / 1e3
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whatever was put before it ends with it.
        let ended = Command::new("kill").arg(&self.nginx).status();
        if ended.is_ok() {
            self.process.wait().ok();
            fs::remove_dir(&self.cgroup).ok();
        }
    }
}
