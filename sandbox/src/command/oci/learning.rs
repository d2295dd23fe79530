//! A container that is recorded from its start instead of fenced; its profile is written when it ends.
//!
//! What it does is seen from outside, by its cgroup. Paths are made sense of, and the profile is made, by a thread that has entered
//! its mount namespace: there links lead where they lead for the container, for as long as somebody is in it.

use std::{
    collections::HashMap,
    os::fd::AsFd as _,
    path::PathBuf,
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
    time::SystemTime,
};

use ringfence_abi::record::Seen;

use super::{
    enclosure::own_cgroup,
    witness::{About, Stays, Witness},
};
use crate::{
    command::{
        Failure,
        learn::{self, Lookup, Observation},
    },
    confine::{Namespace, Peak, Probe},
    kernel::Recorder,
    learn::render,
    oci::{Bundle, Container, OwnCgroup},
    policy::number_of,
    profile::Variables,
    record::Collector,
    trace::{Act, Facts, Tally, Trace},
};

/// A container that is recorded.
pub(super) struct Learning {
    recorder: Recorder,
    lookup: Lookup,
    cgroup: OwnCgroup,
    words: Sender<Word>,
    inside: JoinHandle<Result<String, Failure>>,
    facts: Facts,
    variables: Variables,
    output: PathBuf,
    _stays: Stays,
}

/// What the thread inside is told.
enum Word {
    Act(Box<Result<Act, usize>>),
    End(Box<Ending>),
}

/// All that is known in the end.
struct Ending {
    counts: HashMap<Seen, u64>,
    tally: Tally,
    lookup: Lookup,
    facts: Facts,
    variables: Variables,
    /// Capabilities of which being asked for says nothing.
    not_told: u64,
    notes: Vec<String>,
}

impl Learning {
    /// Begins before anything of the container runs; `None` if somebody else records it already.
    pub(super) fn around(container: &Container, output: PathBuf) -> Result<Option<Self>, Failure> {
        let cgroup = own_cgroup(container, &Probe::new()?)?;
        let bundle = Bundle::read(&container.bundle)?;
        let Some(witness) = Witness::of_new(container, &bundle, &cgroup)? else {
            return Ok(None);
        };
        let (recorder, namespace) = (witness.recorder, witness.namespace);
        let (words, told) = mpsc::channel();
        let inside = thread::spawn(move || wait_inside(&namespace, told));
        let About {
            words: command,
            variables,
        } = witness.about;
        Ok(Some(Self {
            facts: learn::facts(command, &variables, recorder.name(), SystemTime::now()),
            recorder,
            lookup: witness.lookup,
            cgroup,
            words,
            inside,
            variables,
            output,
            _stays: witness.stays,
        }))
    }

    /// Until the container is gone; then its profile is written.
    pub(super) fn stay(mut self) -> Result<(), Failure> {
        loop {
            // Asked before acts are read: those of the last task are read, too.
            let empty = self.cgroup.is_empty();
            self.recorder.look();
            self.drain();
            self.lookup.take();
            if empty {
                return self.finish();
            }
            let all = [self.recorder.as_fd(), self.lookup.bell()];
            self.cgroup.wait(&all)?;
        }
    }

    fn drain(&mut self) {
        while let Some(act) = self.recorder.next_act() {
            // A thread that has ended says why when it is joined.
            self.words.send(Word::Act(Box::new(act))).ok();
        }
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.recorder.end()?;
        self.drain();
        let mut notes = Vec::new();
        if !self.recorder.sees_capabilities() {
            notes.push("this kernel does not tell which capabilities are used".to_owned());
        }
        let ending = Ending {
            counts: self.recorder.counts()?,
            tally: self.recorder.tally()?,
            lookup: self.lookup,
            facts: self.facts,
            variables: self.variables,
            not_told: learn::not_told(&self.recorder),
            notes,
        };
        self.words.send(Word::End(Box::new(ending))).ok();
        let text = self.inside.join().map_err(|_| {
            Failure::Argument("the thread that makes the profile has panicked".to_owned())
        })??;
        learn::write_profile(&self.output, &text)
    }
}

/// Waits for the first act outside: before it, the container has no root of its own.
fn wait_inside(namespace: &Namespace, told: Receiver<Word>) -> Result<String, Failure> {
    let first = told.recv();
    namespace.after_start(move || {
        let mut collector = Collector::new();
        for word in first.into_iter().chain(told) {
            match word {
                Word::Act(act) => collector.add(*act),
                Word::End(ending) => return ending.profile(&collector),
            }
        }
        Err(Failure::Argument(
            "the container was never started".to_owned(),
        ))
    })?
}

impl Ending {
    fn profile(self, collector: &Collector) -> Result<String, Failure> {
        let mut trace = Trace {
            records: collector.records(&self.counts),
            // The exit code is its engine's to know.
            end: learn::end((0, Peak::default()), &self.tally, collector, self.not_told),
            facts: self.facts,
        };
        self.lookup.finish(&mut trace);
        let mut notes = self.notes;
        notes.extend(learn::strangers(&trace));
        let lost = trace.end.lost.iter();
        notes.extend(
            lost.map(|(why, count)| {
                format!("not whole: {} {why}", number_of(*count, "act", "acts"))
            }),
        );
        let notes_text: String = notes.iter().map(|note| format!("# {note}\n")).collect();
        let seen = Observation {
            trace,
            known: learn::known(&self.variables)?,
            _ending: learn::Ending::default(),
            variables: self.variables,
            notes,
            // This thread is in it.
            namespace: None,
        };
        let learned = learn::profile_of(&seen, &learn::How::default())?;
        Ok(notes_text + &render(&learned))
    }
}
