//! `ringfence events`: what happens behind the fences of this host, as it happens, a line of JSON each.

use std::{collections::HashMap, io::Write, path::Path};

use serde::Deserialize;

use super::{
    Failure,
    ps::{Row, registered},
    told::{FOLLOWERS, spelled},
};
use crate::{
    kernel,
    telemetry::{Following, Heard},
};

/// What a message says of itself.
#[derive(Deserialize)]
struct Head {
    fence: u64,
    kind: String,
}

/// What stands and what happens, in lines.
struct Lines {
    following: Following,
    /// Fences by the connection of their supervisor.
    connections: HashMap<u64, u64>,
    /// Fences whose supervisors have closed their connection without a word, until the register tells what they left.
    parting: Vec<u64>,
    next: Vec<Vec<u8>>,
}

/// Milliseconds between two looks for what those who are parting left.
const PARTING: u16 = 20;

/// Writes to `out` what stands, and then what happens, until it is ended: of all fences, or of one.
///
/// # Errors
/// If nothing can be heard, or `out` not be written; one who has stopped to read is no error.
pub fn events(fence: Option<u64>, out: &mut dyn Write) -> Result<(), Failure> {
    let mut lines = Lines::begin(fence)?;
    loop {
        for line in lines.next(None)? {
            let written = out.write_all(&[&line, &b"\n"[..]].concat());
            match written.and_then(|()| out.flush()) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                Err(source) => {
                    return Err(Failure::File {
                        action: "write to",
                        path: "/dev/stdout".into(),
                        source,
                    });
                }
            }
        }
    }
}

/// Sends the same to the collector at `endpoint`, until it is interrupted or terminated; says on `stderr` what has not
/// arrived there.
///
/// # Errors
/// If nothing can be heard, or the endpoint is none that can be used.
#[cfg(feature = "otlp")]
pub fn send(fence: Option<u64>, endpoint: &str, stderr: &mut dyn Write) -> Result<(), Failure> {
    use crate::telemetry::{Collector, Lost};
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };
    /// Milliseconds between two looks whether it is to end.
    const LOOK: u16 = 200;

    let ended = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ended)).map_err(|source| {
            Failure::Unknown {
                what: "when to end",
                source,
            }
        })?;
    }
    let mut collector = Collector::at(endpoint)?;
    let mut say = |lost: Option<Lost>| {
        if let Some(Lost { records, reason }) = lost {
            // Where stderr is gone, the collector's gap still tells.
            writeln!(
                stderr,
                "ringfence: {} did not arrive at {endpoint}: {reason}",
                crate::policy::number_of(records, "record", "records")
            )
            .ok();
        }
    };
    let mut lines = Lines::begin(fence)?;
    while !ended.load(Ordering::Relaxed) {
        for line in lines.next(Some(LOOK))? {
            if let Ok(line) = serde_json::from_slice(&line) {
                collector.send(&line);
            }
        }
        say(collector.lost());
    }
    say(collector.flush());
    Ok(())
}

impl Lines {
    fn begin(fence: Option<u64>) -> Result<Self, Failure> {
        // First the ear, then the list: a fence that begins in between is on both.
        let folder = Path::new(kernel::STATE).join(FOLLOWERS);
        let following = Following::open(&folder, fence)?;
        let standing = registered()?.fences;
        let next = standing
            .iter()
            .filter(|one| fence.is_none_or(|id| id == one.id))
            .map(|one| spelled(one.id, "standing", &Row::of(one)))
            .collect();
        Ok(Self {
            following,
            connections: HashMap::new(),
            parting: Vec::new(),
            next,
        })
    }

    /// Waits for more, `patience` milliseconds if that is given. What comes may be nothing.
    fn next(&mut self, patience: Option<u16>) -> Result<Vec<Vec<u8>>, Failure> {
        let Self {
            following,
            connections,
            parting,
            next,
        } = self;
        if next.is_empty() {
            let patience = match parting.is_empty() {
                true => patience,
                false => Some(patience.map_or(PARTING, |most| most.min(PARTING))),
            };
            following.poll(patience, |heard| {
                next.extend(line(connections, heard, parting));
            })?;
        }
        if !parting.is_empty() {
            let fences = registered()?.fences;
            parting.retain(|fence| {
                let standing = fences.iter().find(|one| one.id == *fence);
                let told = parted(*fence, standing.map(|one| one.supervised));
                let is_open = told.is_none();
                next.extend(told);
                is_open
            });
        }
        Ok(std::mem::take(next))
    }
}

/// What is shown of it. A fence whose supervisor is gone without a word goes into `parting`.
fn line(
    connections: &mut HashMap<u64, u64>,
    heard: Heard<'_>,
    parting: &mut Vec<u64>,
) -> Option<Vec<u8>> {
    match heard {
        Heard::Message(connection, text) => {
            let head: Head = serde_json::from_slice(text).ok()?;
            match head.kind.as_str() {
                "hello" => {
                    connections.insert(connection, head.fence);
                    return None;
                }
                "end" => {
                    connections.remove(&connection);
                }
                _ => {}
            }
            Some(text.to_vec())
        }
        Heard::Gone(connection) => {
            parting.extend(connections.remove(&connection));
            None
        }
    }
}

/// Of a fence that ended without a word, as the register has it: whether its supervisor lives, where the fence stands. None
/// as long as it does: a task that is killed gives back its files one after the other, the connection before the lock that
/// tells of its life (kernel/task_work.c of Linux 6.6, `task_work_run`: no order is promised, and it is the last closed that goes first).
fn parted(fence: u64, supervised: Option<bool>) -> Option<Vec<u8>> {
    let text = match supervised {
        Some(true) => return None,
        Some(false) => serde_json::json!({"fence": fence, "kind": "abandoned"}),
        // Its last words found no room.
        None => serde_json::json!({"fence": fence, "kind": "end", "complete": false}),
    };
    Some(text.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::parted;

    #[test]
    fn who_is_on_the_way_out_has_not_parted_yet() {
        assert_eq!(parted(7, Some(true)), None);
        let told = |supervised| {
            parted(7, supervised).map(|line| String::from_utf8_lossy(&line).into_owned())
        };
        assert_eq!(
            told(Some(false)).as_deref(),
            Some(r#"{"fence":7,"kind":"abandoned"}"#)
        );
        assert_eq!(
            told(None).as_deref(),
            Some(r#"{"complete":false,"fence":7,"kind":"end"}"#)
        );
    }
}
