//! Another profile for a fence that stands: the supervisor hears of it, compiles it as it did the first one, and puts it in the place of
//! that.

use std::{
    ffi::OsString,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{
            fs::OpenOptionsExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    Options,
    engine::{Enforcer, Watch},
    narrator::Narrator,
    prepare::{self, Prepared},
    record::Record,
    resolver,
};
use crate::{
    command::{Failure, memory::Remembered, place::Place},
    confine::{self, Connector, Plan, Probe},
    policy::{Key, Mode, Policy},
};

/// How long who asks may take to say what: meanwhile nobody follows the fence.
const PATIENCE: Duration = Duration::from_millis(200);
/// Bytes of what is asked.
const MOST: usize = 64 << 10;

/// What is asked of a supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::command) enum Request {
    /// To put these profiles in the place of those that it has.
    Reload {
        /// What the supervisor has written where no fence looks.
        token: String,
        /// Shipped names, or absolute paths.
        profiles: Vec<String>,
    },
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::command) enum Answer {
    /// The profile of this name is in force.
    Reloaded(String),
    /// The one from before is, for this reason.
    Refused(String),
}

/// Where a supervisor hears.
#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    token: String,
    paths: [PathBuf; 2],
}

/// What a reload needs of the run.
pub(super) struct Reloader<'a> {
    pub(super) control: Control,
    pub(super) options: &'a Options,
    pub(super) place: &'a Place,
    pub(super) probe: &'a Probe,
    pub(super) remembered: &'a Remembered,
    pub(super) prepared: &'a mut Prepared,
    pub(super) enforcer: &'a mut Enforcer,
    /// What connects the command's Unix sockets, where this process does.
    pub(super) connector: Option<Rc<Connector>>,
}

impl Control {
    /// Listens for what is asked about the fence of `watch`.
    pub(super) fn listen(watch: &Watch) -> Result<Self, Failure> {
        let paths = watch.control();
        let [path, shown] = &paths;
        let made = || {
            if let Some(folder) = path.parent() {
                match fs::create_dir(folder) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(error);
                    }
                    _ => {}
                }
            }
            let listener = match UnixListener::bind(path) {
                // The cgroup is this run's, so that nobody hears there.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    fs::remove_file(path)?;
                    UnixListener::bind(path)?
                }
                made => made?,
            };
            listener.set_nonblocking(true)?;
            let token = random()?;
            let mut file = File::options();
            file.write(true).create(true).truncate(true).mode(0o600);
            file.open(shown)?.write_all(token.as_bytes())?;
            Ok((listener, token))
        };
        let (listener, token) = made().map_err(|source| Failure::File {
            action: "listen at",
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            listener,
            token,
            paths,
        })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // What stays is collected with the fence.
        for path in &self.paths {
            fs::remove_file(path).ok();
        }
    }
}

impl Reloader<'_> {
    /// A descriptor that is readable when something is asked.
    pub(super) fn descriptor(&self) -> Result<OwnedFd, Failure> {
        let own = self.control.listener.as_fd().try_clone_to_owned();
        own.map_err(|source| Failure::Unknown {
            what: "what is asked of the fence",
            source,
        })
    }

    /// Does what is asked, and answers. Who goes away meanwhile is not told.
    pub(super) fn serve(
        &mut self,
        watch: &mut Watch,
        narrator: &mut Narrator<'_>,
        record: &mut Record,
    ) {
        let Ok((stream, _)) = self.control.listener.accept() else {
            return;
        };
        let answer = match heard(&stream) {
            // A socket is reached by whoever may reach sockets, of those in the fence too.
            Ok(Request::Reload { token, .. }) if !same(&token, &self.control.token) => {
                Answer::Refused(
                    "who asks does not know what root reads beside the socket".to_owned(),
                )
            }
            Ok(Request::Reload { profiles, .. }) => match self.reload(&profiles, watch) {
                Ok(()) => {
                    let name = self.prepared.policy.profile.clone();
                    narrator.reloaded(&name, Rc::clone(&self.prepared.source), watch);
                    record.profile.clone_from(&name);
                    Answer::Reloaded(name)
                }
                Err(failure) => Answer::Refused(failure.to_string()),
            },
            Err(reason) => Answer::Refused(reason),
        };
        if let Ok(text) = serde_json::to_vec(&answer) {
            (&stream).write_all(&text).ok();
        }
    }

    fn reload(&mut self, profiles: &[String], watch: &Watch) -> Result<(), Failure> {
        let options = Options {
            profiles: profiles.iter().map(OsString::from).collect(),
            command_line: self.options.command_line.clone(),
            command: self.options.command.clone(),
            events: self.options.events.clone(),
            keep: self.options.keep.clone(),
            ..Options::default()
        };
        let new = prepare::prepare(&options, self.place, self.remembered)?;
        let (before, after) = (&self.prepared.policy, &new.policy);
        let engine = self.enforcer.engine();
        let mut reasons = confine::in_the_way(before, after, engine, self.probe);
        reasons.extend(names_in_the_way(before, after, engine));
        if !reasons.is_empty() {
            return Err(refused(&reasons));
        }
        // What it would be worth if it were started now.
        let request = prepare::request(&options, self.place);
        let plan = self
            .remembered
            .lend(|memory| Plan::remembering(&request, after, engine, self.probe, memory))?;
        let weaker = after.degradation.refused(plan.standings());
        if !weaker.is_empty() {
            return Err(Failure::Refused(weaker.into_iter().cloned().collect()));
        }
        self.enforcer.replace(watch, before, after)?;
        // Before anybody is told that the new one is in force.
        if let Some(connector) = &self.connector {
            connector.judge_by(after);
        }
        *self.prepared = new;
        Ok(())
    }
}

/// A token that nobody guesses.
fn random() -> io::Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(Key(bytes).to_string())
}

/// Compares in a time that does not tell where they differ.
fn same(one: &str, other: &str) -> bool {
    let differ = |differ, (one, other): (u8, u8)| differ | (one ^ other);
    one.len() == other.len() && one.bytes().zip(other.bytes()).fold(0, differ) == 0
}

/// What the resolver has granted are states of the policy's automaton, and would mean something else under another one.
fn names_in_the_way(old: &Policy, new: &Policy, engine: confine::Engine) -> Option<String> {
    let (old, new) = (
        resolver::policies(old, engine),
        resolver::policies(new, engine),
    );
    let mut all = old.iter().chain(&new);
    let resolves = all.any(|policy| policy.names || policy.mode == Mode::Audit);
    (resolves && old != new).then(|| {
        "network: rules about names, and audit of the network, stay as they were when the resolver started".to_owned()
    })
}

fn refused(reasons: &[String]) -> Failure {
    let mut text = "the new profile cannot come to hold for tasks that run; start it anew, or leave as it was:".to_owned();
    for reason in reasons {
        // Writing to a string does not fail.
        write!(text, "\n  {reason}").ok();
    }
    Failure::Argument(text)
}

/// All of it, within [`PATIENCE`] altogether: a timeout alone would begin anew with each byte.
fn read(mut stream: &UnixStream) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (mut text, mut part) = (Vec::new(), [0; 4096]);
    while text.len() < MOST {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part) {
            Ok(0) => return Ok(text),
            Ok(length) => text.extend(&part[..length]),
            // A socket with a timeout is not read on by the kernel when a handler has run (signal(7)), and the supervisor's children
            // end at any time.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::FileTooLarge.into())
}

fn heard(stream: &UnixStream) -> Result<Request, String> {
    let text = read(stream).map_err(|error| format!("what is asked cannot be read: {error}"))?;
    serde_json::from_slice(&text)
        .map_err(|error| format!("what is asked is of another version of ringfence: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_byte_by_byte_does_not_hold_the_supervisor_up() {
        let (own, mut other) = UnixStream::pair().unwrap();
        let asks = std::thread::spawn(move || {
            // Until nobody listens any more.
            while other.write_all(b" ").is_ok() {
                std::thread::sleep(PATIENCE / 20);
            }
        });
        assert!(heard(&own).is_err());
        drop(own);
        asks.join().unwrap();
    }

    #[test]
    fn what_is_asked_is_heard_whole_or_not() {
        let said = |text: &[u8]| {
            let (own, mut other) = UnixStream::pair().unwrap();
            other.write_all(text).unwrap();
            drop(other);
            heard(&own)
        };
        let request = br#"{"reload":{"token":"t","profiles":["p"]}}"#;
        assert!(said(request).is_ok());
        assert!(said(&request[..20]).is_err());
        assert!(said(&[b' '; MOST]).is_err());
    }
}
