//! A recording that stands: what is told is taken in, and in the end it is a trace.

use std::{
    io::Write,
    iter,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    panic::resume_unwind,
    thread::{self, JoinHandle},
};

use super::{
    lookup::Lookup,
    observe::Observation,
    outline::{end, not_told},
    progress::Progress,
    surroundings::{self, Ahead},
};
use crate::{
    command::{Failure, oci::Stays},
    confine::{self, Namespace, Peak},
    kernel::Recorder,
    profile::Variables,
    record::Collector,
    trace::{Act, Facts, Trace},
};

/// How many acts are made sense of at a time in another mount namespace.
const TOGETHER: usize = 4096;

/// The recorder, the resolver, and what they have told.
pub(super) struct Recording {
    pub(super) recorder: Recorder,
    lookup: Lookup,
    collector: Collector,
    progress: Progress,
    /// Where paths are those that were seen; here if nowhere else.
    namespace: Option<Namespace>,
    /// Why it could not be entered.
    failed: Option<confine::Error>,
    _stays: Option<Stays>,
}

impl Recording {
    /// Of this mount namespace.
    pub(super) fn start() -> Result<Self, Failure> {
        // The kernel takes its time for the one: that is used for the other.
        let (recorder, lookup) = thread::scope(|scope| {
            let lookup = scope.spawn(Lookup::start);
            let recorder = Recorder::open();
            let lookup = lookup.join().unwrap_or_else(|panic| resume_unwind(panic));
            (recorder, lookup)
        });
        let (mut recorder, lookup) = (recorder?, lookup?);
        recorder.resolve_by(&lookup.place())?;
        Ok(Self::of(recorder, lookup))
    }

    fn of(recorder: Recorder, lookup: Lookup) -> Self {
        Self {
            recorder,
            lookup,
            collector: Collector::new(),
            progress: Progress::new(),
            namespace: None,
            failed: None,
            _stays: None,
        }
    }

    /// Of a container.
    pub(super) fn within(
        recorder: Recorder,
        lookup: Lookup,
        namespace: Namespace,
        stays: Stays,
    ) -> Self {
        Self {
            namespace: Some(namespace),
            _stays: Some(stays),
            ..Self::of(recorder, lookup)
        }
    }

    /// Says how it is recorded, and then `what`.
    pub(super) fn say(&self, stderr: &mut dyn Write, what: &str) {
        let way = match self.recorder.refusal() {
            None => self.recorder.name().to_owned(),
            Some(reason) => format!("{}; not at the hooks: {reason}", self.recorder.name()),
        };
        writeln!(stderr, "ringfence: recording by {way}\nringfence: {what}").ok();
    }

    /// The recorder's stream, and what tells of names.
    pub(super) fn descriptors(&self) -> Result<(OwnedFd, OwnedFd), Failure> {
        let copied = |descriptor: BorrowedFd<'_>, what| {
            descriptor
                .try_clone_to_owned()
                .map_err(|source| Failure::Unknown { what, source })
        };
        Ok((
            copied(self.recorder.as_fd(), "the recorder's stream")?,
            copied(self.lookup.bell(), "the resolver's events")?,
        ))
    }

    /// Takes in what has been told.
    pub(super) fn take(&mut self) {
        self.recorder.look();
        self.drain();
        self.lookup.take();
        let lost = self.recorder.lost();
        self.progress.show(self.collector.progress(), lost);
    }

    fn drain(&mut self) {
        let Some(namespace) = &self.namespace else {
            while let Some(act) = self.recorder.next_act() {
                self.collector.add(act);
            }
            return;
        };
        loop {
            let recorder = &mut self.recorder;
            let acts: Vec<Result<Act, usize>> = iter::from_fn(|| recorder.next_act())
                .take(TOGETHER)
                .collect();
            if acts.is_empty() {
                return;
            }
            let collector = &mut self.collector;
            let add = move || acts.into_iter().for_each(|act| collector.add(act));
            if let Err(error) = namespace.after_start(add) {
                self.failed.get_or_insert(error);
            }
        }
    }

    /// The trace of it; `ended` is the exit code, and what was used at most. What the learner has to know of the place is found out now
    /// unless it was `known` ahead.
    pub(super) fn finish(
        mut self,
        facts: Facts,
        variables: Variables,
        ended: (u8, Peak),
        mut notes: Vec<String>,
        known: Option<Ahead>,
    ) -> Result<Observation, Failure> {
        self.recorder.end()?;
        self.drain();
        self.progress.clear();
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        let tally = self.recorder.tally()?;
        if tally.unlisted > 0 {
            notes.push(format!(
                "the kernel did not show {} system calls: their list may lack some, so that `--tight` takes the default ones, \
                 and so may `[kernel] allow`; files, sockets and capabilities are whole",
                tally.unlisted
            ));
        }
        let not_told = not_told(&self.recorder);
        let mut trace = Trace {
            facts,
            records: self.collector.records(&self.recorder.counts()?),
            end: end(ended, &tally, &self.collector, not_told),
        };
        self.lookup.finish(&mut trace);
        let known = match (known, &self.namespace) {
            (Some(ahead), _) => ahead.get()?,
            (None, Some(namespace)) => {
                namespace.after_start(|| surroundings::known(&variables))??
            }
            (None, None) => surroundings::known(&variables)?,
        };
        Ok(Observation {
            trace,
            variables,
            notes,
            namespace: self.namespace,
            known,
            _ending: Ending::of(self.recorder),
        })
    }
}

/// A recorder that is taken off: the kernel waits for grace periods. Dropped, it has gone.
#[derive(Default)]
pub(in crate::command) struct Ending(Option<JoinHandle<()>>);

impl Ending {
    fn of(recorder: Recorder) -> Self {
        Self(Some(thread::spawn(move || drop(recorder))))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // What a panic has left is collected by the next run.
        if let Some(thread) = self.0.take() {
            thread.join().ok();
        }
    }
}
