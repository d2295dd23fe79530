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

/// Fences by the connection of their supervisor.
#[derive(Default)]
struct Connections(HashMap<u64, u64>);

/// Writes to `out` what stands, and then what happens, until it is ended: of all fences, or of one.
///
/// # Errors
/// If nothing can be heard, or `out` not be written; one who has stopped to read is no error.
pub fn events(fence: Option<u64>, out: &mut dyn Write) -> Result<(), Failure> {
    // First the ear, then the list: a fence that begins in between is on both.
    let folder = Path::new(kernel::STATE).join(FOLLOWERS);
    let mut following = Following::open(&folder, fence)?;
    for standing in registered()?.fences {
        if fence.is_none_or(|id| id == standing.id)
            && !told(out, &spelled(standing.id, "standing", &Row::of(&standing)))?
        {
            return Ok(());
        }
    }
    let mut connections = Connections::default();
    loop {
        let mut lines = Vec::new();
        following.poll(None, |heard| lines.extend(connections.line(heard)))?;
        for line in lines {
            if !told(out, &line)? {
                return Ok(());
            }
        }
    }
}

impl Connections {
    /// What is shown of it.
    fn line(&mut self, heard: Heard<'_>) -> Option<Vec<u8>> {
        match heard {
            Heard::Message(connection, text) => {
                let head: Head = serde_json::from_slice(text).ok()?;
                match head.kind.as_str() {
                    "hello" => {
                        self.0.insert(connection, head.fence);
                        return None;
                    }
                    "end" => {
                        self.0.remove(&connection);
                    }
                    _ => {}
                }
                Some(text.to_vec())
            }
            // A supervisor that was not killed says that it ends.
            Heard::Gone(connection) => {
                let fence = self.0.remove(&connection)?;
                let text = serde_json::json!({"fence": fence, "kind": "abandoned"});
                Some(text.to_string().into_bytes())
            }
        }
    }
}

/// Whether there is still somebody who reads.
fn told(out: &mut dyn Write, line: &[u8]) -> Result<bool, Failure> {
    match out
        .write_all(&[line, b"\n"].concat())
        .and_then(|()| out.flush())
    {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(source) => Err(Failure::File {
            action: "write to",
            path: "/dev/stdout".into(),
            source,
        }),
    }
}
