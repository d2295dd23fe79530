//! Connections and datagrams, by a rule about the address and by a rule about a name that led there.

use std::ffi::OsString;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::kit::{rounds, rows::What};
use crate::{NAME, own_path};

/// Says to this program that it is inside, and what to do there.
pub(crate) const PROBE: &str = "--probe";

/// Nanoseconds of each act, measured by the probe from inside.
pub(crate) fn all(times: usize, place: &Path) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("a socket");
    thread::spawn(move || listener.incoming().for_each(drop));
    thread::spawn(move || while datagrams.recv(&mut [0; 64]).is_ok() {});
    let (names, prefixes) = contestants(place, port);
    for (act, name) in [("tcp", "TCP connect+close"), ("udp", "UDP sendto")] {
        let what = What {
            section: "network",
            name,
            unit: "ns",
        };
        rounds(what, &names, times, |number| {
            let probe = [
                own_path(),
                PROBE.into(),
                act.into(),
                port.to_string().into(),
            ];
            let words: Vec<_> = prefixes[number].iter().chain(&probe).collect();
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).stdin(Stdio::null());
            let output = command.output().map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&output.stdout);
            text.trim().parse().map_err(|_| format!("{output:?}"))
        });
    }
}

/// The profile for this program as the probe, and the names and the prefixes of the fences with it.
fn contestants(place: &Path, port: u16) -> ([&'static str; 3], [Vec<OsString>; 3]) {
    let own = own_path();
    let own = own.display();
    let profile = place.join("probe.toml");
    let text = format!(
        "version = 1\nextends = [\"base\"]\n[files]\nread = [\"{own}\"]\nexec = [\"{own}\"]\n"
    );
    fs::write(&profile, text).expect("a profile");
    let fenced = |rule: String| -> Vec<OsString> {
        let ringfence = env!("CARGO_BIN_EXE_ringfence");
        let mut words: Vec<OsString> = vec![ringfence.into(), "run".into(), "-p".into()];
        words.extend([
            profile.clone().into(),
            "--connect".into(),
            rule.into(),
            "--".into(),
        ]);
        words
    };
    let prefixes = [
        Vec::new(),
        fenced(format!("127.0.0.1:{port}")),
        fenced(format!("{NAME}:{port}")),
    ];
    (["native", "by address", "by name"], prefixes)
}

/// Asks for the name, whether there is somebody who answers or not, then does one thing many times and prints the nanoseconds
/// of one.
pub(crate) fn probe(words: &[OsString]) {
    let words: Vec<_> = words.iter().filter_map(|word| word.to_str()).collect();
    let port: u16 = words[1].parse().expect("a port");
    look_up();
    let peer = (Ipv4Addr::LOCALHOST, port);
    let took = match words[0] {
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
