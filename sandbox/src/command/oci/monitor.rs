//! The process that owns the fence of one container, writes down its denials, and takes it down when nobody is left. It comes from
//! the hook, and is there when that has ended; or it was sent ahead by who has become the runtime, and waits for the hook.
//!
//! Killed, it leaves the fence standing; a later run collects it once the container's cgroup is empty.

use std::{
    io::{PipeWriter, Write as _},
    mem,
    os::fd::AsFd as _,
    path::PathBuf,
    process,
};

use super::{choice::Choice, enclosure::Enclosure, learning::Learning, ready::Ready};
use crate::{
    command::Failure,
    confine::{self, Between},
    oci::{self, Bundle, Container, Host, Meeting},
};

/// What the monitor answers when the fence stands; anything else is the reason why it does not.
pub(super) const FENCED: &str = "fenced";

/// What the hook asks for.
#[derive(Debug)]
pub(super) struct Request {
    /// The container.
    pub(super) container: Container,
    /// The profile if it names none.
    pub(super) profile: Option<String>,
    /// Whether its bundle was changed for the fallback engine.
    pub(super) fallback: bool,
    /// Where the profile goes if it is recorded instead.
    pub(super) learn: Option<PathBuf>,
}

/// What is known of a container that is to come.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    /// Its bundle, with all that was put into it.
    pub(super) bundle: &'a Bundle,
    /// Its profile,
    pub(super) choice: &'a Choice,
    /// and the one that it gets if it names none.
    pub(super) given: Option<&'a str>,
    /// Whether its bundle was changed for the fallback engine.
    pub(super) fallback: bool,
}

/// Detaches this process, sets the fence up that the request asks for, answers by `report`, and stays until the container is gone.
///
/// # Errors
/// If the fence cannot stand; the answer says why.
pub(super) fn stay_with(request: &Request, report: PipeWriter) -> Result<(), Failure> {
    oci::detach(&[report.as_fd()])?;
    let watched = Watched::around(request);
    // The hook waits until the pipe is closed: it goes with the answer.
    answer(watched, move |text| {
        let mut report = report;
        report.write_all(text.as_bytes()).map_err(|source| {
            let what = "answer the hook";
            oci::Error::Monitor { what, source }.into()
        })
    })
}

/// Starts the monitor of a container that this process will have a runtime make: what needs no container is done while the runtime does
/// what needs no fence. It is nobody's child who waits for children, and ends with this process if no hook comes. What is returned is to be
/// waited for.
///
/// # Errors
/// If it cannot be started.
pub(super) fn send_ahead(meeting: Meeting, expected: &Expected<'_>) -> Result<Between, Failure> {
    // Before there is another process: the number could be somebody else's later.
    let runtime = confine::Process::of(process::id().cast_signed())?;
    let Some(between) = confine::branch_off()? else {
        // Nobody waits for it, and it has nobody to say anything to but the hook.
        process::exit(stay_ahead(meeting, &runtime, expected).map_or(1, |()| 0));
    };
    // Its name is the other's to take away, and its descriptor is closed when the runtime is executed.
    mem::forget(meeting);
    Ok(between)
}

fn stay_ahead(
    meeting: Meeting,
    runtime: &confine::Process,
    expected: &Expected<'_>,
) -> Result<(), Failure> {
    oci::detach(&[meeting.as_fd(), runtime.as_fd()])?;
    let ready = expected.ready();
    let Some(visit) = meeting.wait(runtime.as_fd())? else {
        meeting.end();
        return Ok(());
    };
    let watched = ready.and_then(|ready| expected.met(&visit.state, ready, meeting));
    answer(watched, |text| Ok(visit.answer(text)?))
}

/// Says how it went by `report`, and stays with the container.
fn answer(
    watched: Result<Option<Watched>, Failure>,
    report: impl FnOnce(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match watched {
        Ok(None) => report(FENCED),
        Ok(Some(watched)) => match report(FENCED) {
            Ok(()) => watched.stay(),
            // The hook is gone, and with it who would have started the container.
            Err(failure) => {
                watched.end()?;
                Err(failure)
            }
        },
        Err(failure) => {
            report(&failure.to_string())?;
            Err(failure)
        }
    }
}

impl Expected<'_> {
    fn ready(&self) -> Result<Ready, Failure> {
        Ready::of(self.bundle.changed()?, self.choice.clone(), self.fallback)
    }

    /// The container has come.
    fn met(
        &self,
        state: &[u8],
        mut ready: Ready,
        meeting: Meeting,
    ) -> Result<Option<Watched>, Failure> {
        let container = Container::from_state(state)?;
        if container.is_gone {
            return Err(Failure::Argument("the container has gone".to_owned()));
        }
        if !ready.is_for(&container) {
            let host = Host::read()?;
            ready = Ready::late(&container, self.given, self.fallback, &host)?;
        }
        Watched::fenced(Enclosure::around(&container, ready, Some(meeting)))
    }
}

/// A container that this process stays with.
enum Watched {
    /// It is fenced.
    Fenced(Box<Enclosure>),
    /// It is recorded.
    Recorded(Box<Learning>),
}

impl Watched {
    /// `None` if another process stays with it already.
    fn around(request: &Request) -> Result<Option<Self>, Failure> {
        let host = Host::read()?;
        let asked = host.learned_file(&request.container.annotations)?;
        match request.learn.clone().or(asked) {
            Some(file) => {
                let learning = Learning::around(&request.container, file)?;
                Ok(learning.map(|learning| Self::Recorded(Box::new(learning))))
            }
            None => {
                let container = &request.container;
                let given = request.profile.as_deref();
                let ready = Ready::late(container, given, request.fallback, &host)?;
                Self::fenced(Enclosure::around(container, ready, None))
            }
        }
    }

    fn fenced(enclosure: Result<Option<Enclosure>, Failure>) -> Result<Option<Self>, Failure> {
        Ok(enclosure?.map(|enclosure| Self::Fenced(Box::new(enclosure))))
    }

    fn stay(self) -> Result<(), Failure> {
        match self {
            Self::Fenced(enclosure) => enclosure.stay(),
            Self::Recorded(learning) => learning.stay(),
        }
    }

    fn end(self) -> Result<(), Failure> {
        match self {
            Self::Fenced(enclosure) => enclosure.end(),
            // Nothing of it has run.
            Self::Recorded(_) => Ok(()),
        }
    }
}
