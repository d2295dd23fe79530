//! `ringfence stop`: ends what runs behind a fence, and with it the fence.

use std::{
    io::Write,
    thread,
    time::{Duration, Instant},
};

use super::{Failure, ps::registered};
use crate::{confine::Foreign, kernel::Registered, policy::number_of};

/// How long a supervisor may take to end its fence once nobody is in it.
const SUPERVISOR: Duration = Duration::from_secs(5);

/// Asks the tasks of the fence to end, kills them when `patience` is up, and waits until the fence is gone.
///
/// # Errors
/// If there is no such fence, or its tasks cannot be ended.
pub fn stop(id: u64, patience: Duration, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(fence) = found(id)? else {
        return Err(Failure::Argument(format!(
            "no fence {id} stands on this host: `ringfence ps` lists them"
        )));
    };
    let stopped = match Foreign::open(&fence.cgroup, fence.id)? {
        Some(cgroup) => cgroup.stop(patience)?,
        None => Default::default(),
    };
    let mut text = format!("asked {} to end", processes(stopped.asked));
    if stopped.killed > 0 {
        text.push_str(&format!(", killed {}", processes(stopped.killed)));
    }
    if !fence.supervised {
        text.push_str("; its supervisor was killed, so the next run collects the fence");
    } else if !ended(id)? {
        text.push_str("; the fence stands, because its supervisor has not ended it yet");
    }
    writeln!(out, "{text}").map_err(|source| Failure::File {
        action: "write to",
        path: "/dev/stdout".into(),
        source,
    })
}

fn found(id: u64) -> Result<Option<Registered>, Failure> {
    let fences = registered()?.fences;
    Ok(fences.into_iter().find(|fence| fence.id == id))
}

fn ended(id: u64) -> Result<bool, Failure> {
    let deadline = Instant::now() + SUPERVISOR;
    while found(id)?.is_some() {
        if Instant::now() > deadline {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}

fn processes(number: usize) -> String {
    number_of(number, "process", "processes")
}
