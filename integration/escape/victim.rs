//! The victim: a process outside of the fence, of the same user, that has a secret of every kind, and keeps a record of
//! all that reaches it.

use std::ffi::CString;
use std::fs::File;
use std::io::{IoSlice, Read, Write, stdin};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::arena::{CONNECTIONS, DATAGRAMS, PLACES, SECRET, Victim};
use super::system::{self, call, map};

/// The variable with the stage.
pub(super) const STAGE: &str = "RINGFENCE_ESCAPE_VICTIM";

/// Signals that are counted. None of those that nobody can catch: they are sent as signal 0.
const COUNTED: [i32; 8] = [
    libc::SIGURG,
    libc::SIGIO,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGCONT,
];

static RECORD: OnceLock<&'static [AtomicU32; PLACES]> = OnceLock::new();

extern "C" fn count(signal: i32) {
    note(usize::try_from(signal).unwrap_or(0));
}

fn note(place: usize) {
    if let Some(place) = RECORD.get().and_then(|record| record.get(place)) {
        place.fetch_add(1, Ordering::Relaxed);
    }
}

/// Stands there until its standard input ends.
pub(super) fn play(stage: &Path) -> ExitCode {
    match stand(stage) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the victim cannot stand: {error}");
            ExitCode::FAILURE
        }
    }
}

fn stand(stage: &Path) -> std::io::Result<()> {
    keep_record(stage)?;
    let mut victim = Victim {
        pid: i32::try_from(std::process::id()).unwrap_or(0),
        secret: Box::leak(SECRET.as_bytes().to_vec().into_boxed_slice()).as_ptr() as usize,
        ..Victim::default()
    };
    let secret = File::options()
        .read(true)
        .write(true)
        .open(stage.join("closed/victim/secret"))?;
    victim.descriptor = secret.into_raw_fd();
    // A number says how often its place was taken: that of a first object is the same in every namespace.
    for _ in 0..8 {
        system_v(&mut victim)?;
        remove_system_v(&victim)?;
    }
    system_v(&mut victim)?;
    posix(&mut victim)?;
    unix(stage, &mut victim)?;
    internet(&mut victim)?;
    println!("{}", serde_json::to_string(&victim)?);
    stdin().read_to_end(&mut Vec::new())?;
    remove_system_v(&victim)?;
    let queue = CString::new(victim.posix_queue)?;
    call(libc::SYS_mq_unlink, &[(&queue).into()])?;
    Ok(())
}

fn keep_record(stage: &Path) -> std::io::Result<()> {
    let record = File::options()
        .read(true)
        .write(true)
        .open(stage.join("read/record"))?;
    record.set_len(u64::try_from(PLACES * 4).unwrap_or(0))?;
    let both = libc::PROT_READ | libc::PROT_WRITE;
    let record = map(PLACES * 4, both, libc::MAP_SHARED, Some(&record.into()), 0)?;
    // SAFETY: a page that stays, aligned, of integers that are only changed as a whole.
    let record = unsafe { &*record.cast::<[AtomicU32; PLACES]>() };
    RECORD.get_or_init(|| record);
    for signal in COUNTED {
        let action = nix::sys::signal::SigAction::new(
            nix::sys::signal::SigHandler::Handler(count),
            nix::sys::signal::SaFlags::SA_RESTART,
            nix::sys::signal::SigSet::empty(),
        );
        let signal = nix::sys::signal::Signal::try_from(signal)?;
        // SAFETY: the handler adds to an integer, and nothing else.
        unsafe { nix::sys::signal::sigaction(signal, &action) }?;
    }
    Ok(())
}

fn system_v(victim: &mut Victim) -> std::io::Result<()> {
    let mode = libc::IPC_CREAT | 0o600;
    let id = |answer: std::ffi::c_long| i32::try_from(answer).unwrap_or(-1);
    let private = libc::IPC_PRIVATE;
    victim.memory = id(call(
        libc::SYS_shmget,
        &[private.into(), 4096.into(), mode.into()],
    )?);
    victim.semaphore = id(call(
        libc::SYS_semget,
        &[private.into(), 1.into(), mode.into()],
    )?);
    victim.queue = id(call(libc::SYS_msgget, &[private.into(), mode.into()])?);
    Ok(())
}

fn remove_system_v(victim: &Victim) -> std::io::Result<()> {
    for (number, id) in [
        (libc::SYS_shmctl, victim.memory),
        (libc::SYS_msgctl, victim.queue),
    ] {
        call(number, &[id.into(), libc::IPC_RMID.into(), system::NULL])?;
    }
    call(
        libc::SYS_semctl,
        &[victim.semaphore.into(), 0.into(), libc::IPC_RMID.into()],
    )?;
    Ok(())
}

fn posix(victim: &mut Victim) -> std::io::Result<()> {
    victim.posix_queue = format!("ringfence-escape-{}", victim.pid);
    let queue = CString::new(victim.posix_queue.as_str())?;
    let flags = libc::O_RDWR | libc::O_CREAT;
    system::descriptor(
        libc::SYS_mq_open,
        &[(&queue).into(), flags.into(), 0o600.into(), system::NULL],
    )?;
    Ok(())
}

fn unix(stage: &Path, victim: &mut Victim) -> std::io::Result<()> {
    victim.stream = format!("ringfence-escape-stream-{}", victim.pid);
    victim.datagram = format!("ringfence-escape-datagram-{}", victim.pid);
    let stream = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&victim.stream)?)?;
    let datagram = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&victim.datagram)?)?;
    accepts(stream);
    receives(datagram);
    accepts(UnixListener::bind(stage.join("closed/stream"))?);
    accepts(UnixListener::bind(stage.join("read/stream"))?);
    receives(UnixDatagram::bind(stage.join("closed/datagram"))?);
    let helper = UnixListener::bind(stage.join("open/helper"))?;
    let stage = stage.to_owned();
    thread::spawn(move || {
        for stream in helper.incoming().flatten() {
            // An attacker that hangs up is none of the helper's business.
            help(&stage, stream).ok();
        }
    });
    Ok(())
}

fn accepts(listener: UnixListener) {
    thread::spawn(move || {
        for _ in listener.incoming().flatten() {
            note(CONNECTIONS);
        }
    });
}

fn receives(socket: UnixDatagram) {
    thread::spawn(move || {
        while socket.recv(&mut [0; 16]).is_ok() {
            note(DATAGRAMS);
        }
    });
}

fn internet(victim: &mut Victim) -> std::io::Result<()> {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    victim.tcp = tcp.local_addr()?.port();
    victim.udp = udp.local_addr()?.port();
    thread::spawn(move || {
        for _ in tcp.incoming().flatten() {
            note(CONNECTIONS);
        }
    });
    thread::spawn(move || {
        while udp.recv(&mut [0; 16]).is_ok() {
            note(DATAGRAMS);
        }
    });
    Ok(())
}

/// A friend outside: passes in what it is asked for, in one letter.
fn help(stage: &Path, mut stream: UnixStream) -> std::io::Result<()> {
    let mut wish = [0];
    stream.read_exact(&mut wish)?;
    let closed = |name: &str| -> PathBuf { stage.join("closed/victim").join(name) };
    let gift: OwnedFd = match wish[0] {
        b'r' => File::open(closed("secret"))?.into(),
        b'w' => File::options()
            .read(true)
            .write(true)
            .open(closed("secret"))?
            .into(),
        b'd' => File::open(closed("folder"))?.into(),
        b'p' => system::open(closed("folder"), libc::O_PATH | libc::O_DIRECTORY)?,
        b't' => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = listener.local_addr()?;
            thread::spawn(move || {
                listener.accept().map(|(mut peer, _)| {
                    if peer.read(&mut [0]).is_ok_and(|count| count > 0) {
                        note(CONNECTIONS);
                    }
                })
            });
            TcpStream::connect(address)?.into()
        }
        b'm' => {
            let flags = libc::MFD_CLOEXEC;
            let memory =
                system::descriptor(libc::SYS_memfd_create, &[c"program".into(), flags.into()])?;
            File::from(memory.try_clone()?).write_all(&std::fs::read("/bin/true")?)?;
            memory
        }
        _ => return Ok(()),
    };
    sendmsg::<()>(
        stream.as_raw_fd(),
        &[IoSlice::new(b"!")],
        &[ControlMessage::ScmRights(&[gift.as_raw_fd()])],
        MsgFlags::empty(),
        None,
    )?;
    // Kept until the other side is done.
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}
