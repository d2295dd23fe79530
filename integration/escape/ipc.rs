//! What tasks of one user share: System V and POSIX objects, abstract names.

use std::ffi::CString;
use std::io;

use super::arena::Arena;
use super::case::{Attempt, Case, escaped, nothing, past_the_check};
use super::system::{NULL, call, descriptor, place};

/// The chapter on tasks, second part.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::wide("T11", "attaches the victim's shared memory", attaches),
        Case::wide("T11a", "asks about the victim's shared memory", |arena| {
            let mut about = [0u8; 256];
            let words = [
                arena.victim.memory.into(),
                libc::IPC_STAT.into(),
                (&mut about[..]).into(),
            ];
            known_here(call(libc::SYS_shmctl, &words))
        }),
        Case::wide("T11b", "changes the victim's semaphore", |arena| {
            let mut operation = [0i16, 1, 0];
            let words = [
                arena.victim.semaphore.into(),
                place(&mut operation),
                1.into(),
            ];
            known_here(call(libc::SYS_semop, &words))
        }),
        Case::wide("T11c", "sends to the victim's queue", |arena| {
            let mut message = [1i64, 0];
            let words = [
                arena.victim.queue.into(),
                place(&mut message),
                1.into(),
                libc::IPC_NOWAIT.into(),
            ];
            known_here(call(libc::SYS_msgsnd, &words))
        }),
        Case::wide("T11d", "opens the victim's POSIX queue", |arena| {
            let name = CString::new(arena.victim.posix_queue.as_str()).map_err(io::Error::other)?;
            descriptor(
                libc::SYS_mq_open,
                &[(&name).into(), libc::O_RDWR.into(), 0.into(), NULL],
            )?;
            escaped("opened")
        }),
        Case::wide("T11e", "removes the victim's POSIX queue", |arena| {
            let name = CString::new(arena.victim.posix_queue.as_str()).map_err(io::Error::other)?;
            call(libc::SYS_mq_unlink, &[(&name).into()])?;
            escaped("removed")
        })
        .harmful("the victim would miss it"),
        Case::wide("T11f", "removes the victim's shared memory", |arena| {
            let words = [arena.victim.memory.into(), libc::IPC_RMID.into(), NULL];
            known_here(call(libc::SYS_shmctl, &words))
        })
        .harmful("the victim would miss it"),
        Case::wide(
            "T13",
            "connects to an abstract name where all files are open",
            |arena| {
                use std::os::linux::net::SocketAddrExt;
                let name =
                    std::os::unix::net::SocketAddr::from_abstract_name(&arena.victim.stream)?;
                std::os::unix::net::UnixStream::connect_addr(&name)?;
                escaped("connected")
            },
        ),
    ]
}

/// In another namespace of IPC objects, the number of the victim's is nobody's.
fn known_here<T>(answer: io::Result<T>) -> Attempt {
    match answer {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIDRM)) => {
            nothing("there is no such object here")
        }
        answer => past_the_check(answer, &[]),
    }
}

fn attaches(arena: &Arena) -> Attempt {
    let words = [arena.victim.memory.into(), 0.into(), 0.into()];
    let address = match call(libc::SYS_shmat, &words) {
        Ok(address) => address,
        refused => return known_here(refused),
    };
    call(libc::SYS_shmdt, &[address.into()])?;
    escaped("attached")
}
