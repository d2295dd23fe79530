//! One container, recorded: whoever is in its cgroup, with the paths and names that it has inside.

use std::{io::Write, os::fd::AsFd as _, path::PathBuf, time::SystemTime};

use super::{
    observe::Observation,
    outline::{facts, strangers},
    recording::Recording,
};
use crate::{
    command::{
        Failure,
        oci::{self, About, Witness},
    },
    confine::{Onlooker, Peak, Watched},
    oci::Running,
};

/// A container that is recorded.
pub(super) struct Recorded {
    recording: Recording,
    onlooker: Onlooker,
    about: About,
    began: SystemTime,
}

/// Records a container that runs already until it ends, this is interrupted, or the time is over; it goes on as it is.
pub(super) fn observe(
    name: &str,
    root: Option<&PathBuf>,
    seconds: Option<u64>,
    stderr: &mut dyn Write,
) -> Result<Observation, Failure> {
    let running = oci::running(name, root)?;
    let mut recorded = Recorded::begin(&running)?;
    let id = &running.container.id;
    recorded.say(
        stderr,
        &format!(
            "container {id} is recorded until it ends, or this is interrupted; it goes on as it is"
        ),
    );
    recorded.wait(seconds)?;
    let mut notes = Vec::new();
    if running.is_started {
        notes.push(
            "what the container opened, mapped or connected before is not in it, nor what its first programs needed to start: \
             learn from a start of it as well, and merge"
                .to_owned(),
        );
    }
    recorded.finish(0, notes)
}

impl Recorded {
    pub(super) fn begin(running: &Running) -> Result<Self, Failure> {
        // First: from here on, signals end the recording and nothing else.
        let onlooker = Onlooker::of(running.container.pid)?;
        let Witness {
            recorder,
            lookup,
            namespace,
            about,
            stays,
        } = Witness::of_running(running)?;
        Ok(Self {
            recording: Recording::within(recorder, lookup, namespace, stays),
            onlooker,
            about,
            began: SystemTime::now(),
        })
    }

    pub(super) fn say(&self, stderr: &mut dyn Write, what: &str) {
        self.recording.say(stderr, what);
    }

    /// It ends with this process, and not with the container's first.
    pub(super) fn end_with(&mut self, process: u32) -> Result<(), Failure> {
        Ok(self.onlooker.turn_to(process.cast_signed())?)
    }

    /// Takes in what is told, until the container's first process has ended, or this is to.
    pub(super) fn wait(&mut self, seconds: Option<u64>) -> Result<Watched, Failure> {
        let (stream, bell) = self.recording.descriptors()?;
        let recording = &mut self.recording;
        Ok(self
            .onlooker
            .wait(seconds, &[stream.as_fd(), bell.as_fd()], || {
                recording.take();
            })?)
    }

    pub(super) fn finish(self, code: u8, mut notes: Vec<String>) -> Result<Observation, Failure> {
        let recorder = &self.recording.recorder;
        if !recorder.sees_capabilities() {
            notes.push(
                "this kernel does not tell which capabilities are used: the profile keeps none"
                    .to_owned(),
            );
        }
        let About { words, variables } = self.about;
        let facts = facts(words, &variables, recorder.name(), self.began);
        let ended = (code, Peak::default());
        let mut seen = self
            .recording
            .finish(facts, variables, ended, notes, None)?;
        seen.notes.extend(strangers(&seen.trace));
        Ok(seen)
    }
}
