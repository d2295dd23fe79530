//! Single operations, counted and timed from inside by this program: the start is not in it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::kit::contestant::Contestant;
use crate::kit::{rounds, rows::What};
use crate::once::names;

/// The argument with which this program does operations.
pub(crate) const PROBE: &str = "--probe";

/// Each with how often one probe does it.
const OPERATIONS: [(&str, u32); 12] = [
    ("open, depth 1", 10_000),
    ("open, depth 4", 10_000),
    ("open, depth 8", 10_000),
    ("open, depth 32", 10_000),
    ("stat", 10_000),
    ("read a byte", 20_000),
    ("rename", 2_000),
    ("create and unlink", 2_000),
    ("fork", 200),
    ("exec", 50),
    ("connect, TCP", 500),
    ("connect, Unix", 500),
];

/// Where depth 1 is.
const SHALLOW: &str = "/ringfence-bench-depth-1";

/// Every operation by every contestant.
pub(crate) fn all(times: usize, place: &Path) {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = tcp.local_addr().expect("an address").to_string();
    let socket = place.join("socket");
    let unix = UnixListener::bind(&socket).expect("a socket");
    // They end with the bench.
    std::thread::spawn(move || tcp.incoming().for_each(drop));
    std::thread::spawn(move || unix.incoming().for_each(drop));
    fs::write(SHALLOW, b"x").expect("a file");
    for depth in [4, 8, 32] {
        let file = file_at(depth, place);
        fs::create_dir_all(file.parent().expect("a directory")).expect("directories");
        fs::write(file, b"x").expect("a file");
    }
    let own = std::env::current_exe().expect("the path of this program");
    for (name, count) in OPERATIONS {
        let profile = profile(place, &own, &address, name);
        let contestants = Contestant::all(&["-p".into(), profile.into()], place);
        let what = What {
            section: "operations",
            name,
            unit: "ns",
        };
        let words = [
            own.clone().into(),
            PROBE.into(),
            name.into(),
            count.to_string().into(),
            place.into(),
            address.clone().into(),
        ];
        rounds(what, &names(&contestants), times, |number| {
            contestants[number].number(&words)
        });
    }
    fs::remove_file(SHALLOW).expect("the file is there");
}

/// What the probe does, and no more. Rules about Unix sockets only where one is reached: not every kernel's fallback has them.
fn profile(place: &Path, own: &Path, address: &str, operation: &str) -> PathBuf {
    let (here, own) = (place.display(), own.display());
    let network = match operation {
        "connect, TCP" => format!("[network]\nconnect = [\"{address}\"]\n"),
        "connect, Unix" => format!("[network]\nunix = [\"{here}/socket\"]\n"),
        _ => String::new(),
    };
    let text = format!(
        "version = 1\nextends = [\"base\"]\n[files]\nread = [\"{SHALLOW}\", \"{here}/**\", \"{own}\", \"/usr/bin/true\", \"/usr/bin/dash\"]\n\
         write = [\"{here}/**\"]\nexec = [\"{own}\", \"/usr/bin/true\", \"/usr/bin/dash\"]\n{network}"
    );
    let path = place.join("profile.toml");
    fs::write(&path, text).expect("a profile");
    path
}

/// A file with `depth` components in its path.
fn file_at(depth: usize, place: &Path) -> PathBuf {
    let mut directory = place.to_owned();
    while directory.components().count() < depth {
        directory.push("d");
    }
    directory.join("f")
}

/// Does an operation some times, and prints the nanoseconds of one.
pub(crate) fn probe(words: &[OsString]) {
    let [name, count, place, address] = words else {
        panic!("the probe takes four words");
    };
    let count = count.to_str().and_then(|text| text.parse().ok());
    let count: u32 = count.expect("a number");
    match time(name, count, Path::new(place), address) {
        Ok(nanoseconds) => println!("{nanoseconds}"),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}

fn time(name: &OsStr, count: u32, place: &Path, address: &OsStr) -> io::Result<u128> {
    let name = name.to_str().unwrap_or_default();
    let depth = name.strip_prefix("open, depth ");
    let deep = file_at(4, place);
    let file = match depth {
        Some("1") => PathBuf::from(SHALLOW),
        Some(depth) => file_at(depth.parse().unwrap_or(4), place),
        None => deep.clone(),
    };
    let open = File::open(&file)?;
    let (one, other) = (place.join("one"), place.join("other"));
    let mut byte = [0];
    let address = address.to_str().unwrap_or_default();
    let mut act = || -> io::Result<()> {
        match name {
            "stat" => fs::metadata(&deep).map(drop),
            "read a byte" => open.read_at(&mut byte, 0).map(drop),
            "rename" => fs::rename(&one, &other).and_then(|()| fs::rename(&other, &one)),
            "create and unlink" => File::create(&other).and_then(|_| fs::remove_file(&other)),
            "exec" => Command::new("/usr/bin/true").status().map(drop),
            // The end that the other side makes at once tells that it has taken the connection.
            "connect, TCP" => TcpStream::connect(address)?.read(&mut byte).map(drop),
            "connect, Unix" => UnixStream::connect(place.join("socket"))?
                .read(&mut byte)
                .map(drop),
            _ => File::open(&file).map(drop),
        }
    };
    if name == "rename" {
        File::create(&one)?;
    }
    if name == "fork" {
        return forks(count);
    }
    for _ in 0..count / 10 {
        act()?;
    }
    let began = Instant::now();
    for _ in 0..count {
        act()?;
    }
    Ok(began.elapsed().as_nanos() / u128::from(count))
}

/// A shell forks for each pair of parentheses.
fn forks(count: u32) -> io::Result<u128> {
    let script = format!("i=0; while [ $i -lt {count} ]; do (:); i=$((i+1)); done");
    let began = Instant::now();
    let status = Command::new("/usr/bin/dash")
        .args(["-c", &script])
        .status()?;
    if !status.success() {
        return Err(io::Error::other("the shell failed"));
    }
    Ok(began.elapsed().as_nanos() / u128::from(count))
}
