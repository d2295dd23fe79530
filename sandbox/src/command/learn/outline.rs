//! What a trace says of its run besides the acts.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher as _, RandomState},
    time::SystemTime,
};

use crate::{
    confine::{self, Peak},
    kernel::Recorder,
    profile::Variables,
    record::Collector,
    trace::{End, Facts, Tally, Text, Trace},
};

/// What was run, and where.
pub(in crate::command) fn facts(
    command: Vec<Text>,
    variables: &Variables,
    recorder: &'static str,
    began: SystemTime,
) -> Facts {
    let values = Variables::KNOWN
        .iter()
        .filter_map(|(name, _)| Some(((*name).to_owned(), variables.get(name)?.into())))
        .collect::<BTreeMap<String, Text>>();
    let since = began
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    // Random: two runs that begin in the same moment are two runs.
    let run = RandomState::new().hash_one(since) & 0xffff_ffff;
    Facts {
        run: format!("{run:08x}"),
        command,
        variables: values,
        recorder: recorder.to_owned(),
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        began: since.as_secs(),
    }
}

/// How it ended, with what was only counted. Of capabilities in `not_told`, being asked for says nothing.
pub(in crate::command) fn end(
    (exit, peak): (u8, Peak),
    tally: &Tally,
    collector: &Collector,
    not_told: u64,
) -> End {
    let names = |numbers: &[u32]| -> Vec<String> {
        let names = numbers
            .iter()
            .map(|&number| confine::system_call_name(number));
        names.collect()
    };
    let surfaces = confine::surfaces_of(&names(&tally.succeeded))
        .union(confine::surfaces_of_namespaces(collector.namespaces()))
        .union(collector.surfaces());
    let losses = collector.losses(tally).into_iter();
    End {
        exit,
        lost: losses
            .map(|(reason, count)| (reason.to_owned(), count))
            .collect(),
        capabilities: confine::capability_names(tally.capabilities & !not_told),
        surfaces: confine::surface_names(surfaces),
        system_calls: names(&tally.made),
        names: BTreeSet::new(),
        unlisted_calls: tally.unlisted,
        peak_memory: peak.memory,
        peak_tasks: peak.tasks,
        peaks_sampled: peak.sampled,
    }
}

/// What has to be known where something ran in a container that is none of its programs. That a runtime executes the container's
/// own is expected.
pub(in crate::command) fn strangers(trace: &Trace) -> Option<String> {
    let mut records = trace.records.iter();
    let strange = records.any(|record| record.program.is_none() && record.what != "exec");
    strange.then(|| {
        "something ran in the container that is no program of its own, as a runtime's part of `exec` is: what that did is in \
         the profile too; look at its capabilities and at `[kernel] allow`, or learn without `exec`"
            .to_owned()
    })
}

/// `CAP_SYS_ADMIN`: asked for whenever memory grows, to know whether the reserve may be used (mm/util.c,
/// `__vm_enough_memory`). The tracepoint does not tell such a question from a use; what needs the capability is mostly
/// closed by name, and seen as a part of the kernel.
pub(super) const NOT_TOLD: u64 = 1 << 21;

/// Capabilities of which this recorder's tally says nothing.
pub(in crate::command) fn not_told(recorder: &Recorder) -> u64 {
    match recorder.tells_questions_apart() {
        true => 0,
        false => NOT_TOLD,
    }
}
