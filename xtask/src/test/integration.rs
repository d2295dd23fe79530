//! The floors of integration/: the same binary on this host and, one boot each, on every kernel.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::cargo::cargo;
use super::stream::{Reader, lines};
use super::tally::Tally;
use crate::place;
use crate::tool::{is_root, say, shown};
use crate::vm::{self, Clock, DEFAULT_LSM, Ending, Job, Machine, Release, Sink};

/// All tests of one kernel, emulated on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40 * 60);
const MEMORY: u32 = 2048;
const PROCESSORS: u32 = 2;

/// The kernel that has most to try: its machine goes first.
const FIRST: Release = Release::V6_12;
/// Subjects that are about ringfence and programs, not about what one kernel does otherwise than another. They are tried on this
/// host and on the kernel that is named: where a processor is emulated, each takes minutes, and machines that run beside each other
/// are to end together.
const ALIKE: [(&str, Release); 35] = [
    ("faults::", Release::Newest),
    ("launch::", Release::V6_12),
    ("learn::a_service_", Release::V6_12),
    ("learn::git_", Release::V6_12),
    ("learn::python_", Release::V6_12),
    ("learn::servers_of_", Release::V6_12),
    ("learn::who_was_", Release::V6_12),
    ("load::", Release::V6_12),
    ("network::cgroup::", Release::V6_12),
    ("oci::a_bundle_", Release::V6_12),
    ("oci::a_container_ends_", Release::V6_12),
    ("oci::a_fenced_", Release::V6_12),
    ("oci::a_hook_", Release::V6_12),
    ("oci::a_life_", Release::V6_12),
    ("oci::a_profiles_limits_", Release::V6_12),
    ("oci::a_user_", Release::V6_12),
    ("oci::containerd_", Release::V6_12),
    ("oci::nothing_is_left_behind", Release::V6_12),
    ("oci::podman_", Release::V6_12),
    ("oci::root_of_", Release::V6_12),
    ("oci::the_answers_", Release::V6_12),
    ("oci::twenty_", Release::V6_12),
    ("programs::", Release::V6_12),
    ("refusal::", Release::V6_12),
    ("register::", Release::V6_12),
    ("reload::", Release::V6_1),
    ("resolver::", Release::V6_12),
    ("sections::", Release::V6_12),
    ("soak::", Release::V6_12),
    ("terminal::", Release::V6_12),
    ("unix::a_path_", Release::V6_12),
    ("unix::links_", Release::V6_12),
    ("unix::the_peer_", Release::V6_12),
    ("untrusted::", Release::V6_12),
    ("version::", Release::V6_12),
];

/// Which tests the machines run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    /// All, on every kernel.
    Whole,
    /// Those in [`ALIKE`] on the one that is named there only.
    Alike,
}

/// Runs what was chosen; a floor that cannot be run is a skip with its reason, or for root, who can run all, a failure.
pub(crate) fn floors(
    host: bool,
    kernels: &[Release],
    object: Option<&Path>,
    no_vm: bool,
    extent: Extent,
    filter: &[OsString],
) -> Result<Vec<Tally>> {
    if !host && kernels.is_empty() {
        return Ok(Vec::new());
    }
    let binary = match build(object) {
        Ok(binary) => binary,
        Err(error) => {
            let mut tally = Tally::of("host");
            tally.fail(format!("integration did not build: {error:#}"));
            return Ok(vec![tally]);
        }
    };
    let mut tallies = Vec::new();
    if host {
        tallies.push(on_host(&binary, filter)?);
    }
    if no_vm {
        tallies.extend(kernels.iter().map(|release| skipped(*release, "--no-vm")));
    } else if !kernels.is_empty() {
        match vm::prepare(is_root()) {
            Ok(()) => tallies.extend(on_kernels(kernels, &binary, extent, filter)?),
            Err(error) if is_root() => {
                tallies.extend(kernels.iter().map(|release| failed(*release, &error)));
            }
            Err(error) => tallies.extend(
                kernels
                    .iter()
                    .map(|release| skipped(*release, &format!("{error:#}"))),
            ),
        }
    }
    Ok(tallies)
}

fn name(release: Release) -> String {
    format!("vm-{}", release.name())
}

fn skipped(release: Release, reason: &str) -> Tally {
    let mut tally = Tally::of(&name(release));
    tally.skip("all of integration/", reason);
    tally
}

fn failed(release: Release, error: &anyhow::Error) -> Tally {
    let mut tally = Tally::of(&name(release));
    tally.fail(format!("the machine: {error:#}"));
    tally
}

/// Gives the test binary; `ringfence` beside it embeds the object that was rebuilt.
fn build(object: Option<&Path>) -> Result<PathBuf> {
    say("building the integration tests");
    let mut command = cargo(&[
        "test",
        "--package",
        "ringfence",
        "--test",
        "integration",
        "--no-run",
    ]);
    command
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    if let Some(object) = object {
        command.env("RINGFENCE_BPF_OBJECT", object);
    }
    let output = command
        .output()
        .with_context(|| format!("could not start {}", shown(&command)))?;
    if !output.status.success() {
        bail!("{} failed: {}", shown(&command), output.status);
    }
    let messages = String::from_utf8(output.stdout).context("cargo's messages are not text")?;
    let found = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let ours = message["target"]["name"] == "integration" && message["profile"]["test"] == true;
        message["executable"]
            .as_str()
            .filter(|_| ours)
            .map(PathBuf::from)
    });
    found.context("cargo built the integration tests but did not say where")
}

/// What every floor tells the tests. Expectations are written for root; others may have to skip more.
fn variables(floor: &str) -> Vec<(&'static str, OsString)> {
    let mut variables = vec![("RINGFENCE_FLOOR", floor.into())];
    if is_root() {
        variables.push((
            "RINGFENCE_EXPECT",
            place::root().join("integration/expected-skips.txt").into(),
        ));
    }
    variables
}

fn on_host(binary: &Path, filter: &[OsString]) -> Result<Tally> {
    say("integration on this host");
    let mut command = Command::new(binary);
    command
        .args(filter)
        .current_dir(place::root())
        // Cargo's, for the compiler's own libraries: with it, every program under test would look for its libraries there first.
        .env_remove("LD_LIBRARY_PATH")
        .envs(variables("host"));
    let mut tally = Tally::of("host");
    let succeeded = lines(command, |line| tally.read(line))?;
    tally.close(succeeded, "integration");
    Ok(tally)
}

/// As many machines beside each other as there are processors: an emulated one keeps one busy.
fn on_kernels(
    kernels: &[Release],
    binary: &Path,
    extent: Extent,
    filter: &[OsString],
) -> Result<Vec<Tally>> {
    // The one with the most to do goes first.
    let mut kernels = kernels.to_vec();
    kernels.sort_by_key(|kernel| *kernel != FIRST);
    let beside = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(kernels.len());
    let queue = Mutex::new(kernels.iter().copied().enumerate());
    let done = Mutex::new(Vec::new());
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    std::thread::scope(|scope| {
        for _ in 0..beside {
            scope.spawn(|| {
                while let Some((place, release)) = next() {
                    let tally = on_kernel(release, binary, extent, filter)
                        .unwrap_or_else(|error| failed(release, &error));
                    if let Ok(mut done) = done.lock() {
                        done.push((place, tally));
                    }
                }
            });
        }
    });
    let mut done = done
        .into_inner()
        .map_err(|_| anyhow!("a machine's thread panicked"))?;
    if done.len() != kernels.len() {
        bail!("{} machines were to run, {} did", kernels.len(), done.len());
    }
    done.sort_by_key(|(place, _)| *place);
    Ok(done.into_iter().map(|(_, tally)| tally).collect())
}

fn on_kernel(
    release: Release,
    binary: &Path,
    extent: Extent,
    filter: &[OsString],
) -> Result<Tally> {
    let left_out: Vec<(&str, Release)> = match extent {
        Extent::Alike if filter.is_empty() => ALIKE
            .into_iter()
            .filter(|(_, elsewhere)| *elsewhere != release)
            .collect(),
        _ => Vec::new(),
    };
    let filter: Vec<OsString> = left_out
        .iter()
        .flat_map(|(subject, _)| ["--skip", subject])
        .map(OsString::from)
        .chain(filter.iter().cloned())
        .collect();
    let floor = name(release);
    let assignments = variables(&floor).into_iter().map(|(name, value)| {
        let mut assignment = OsString::from(name);
        assignment.push("=");
        assignment.push(value);
        assignment
    });
    let hidden = |path: &PathBuf| path.starts_with("/tmp") || path.starts_with("/run");
    let folders = [place::root().to_owned(), place::target()];
    let job = Job::here([vec![binary.into()], filter].concat())?
        .in_folder(place::root())
        .with_variables(assignments)
        .with_binds(folders.into_iter().filter(hidden))?;
    let machine = Machine {
        kernel: vm::kernel(release, false)?,
        memory: MEMORY,
        cpus: PROCESSORS,
        timeout: PATIENCE,
        lsm: DEFAULT_LSM.to_owned(),
        console: false,
        clock: Clock::Host,
    };
    let reader = Reader::of(&floor);
    let ending = machine.run(&job, &Sink::of(reader.clone()), &Sink::of(reader.beside()))?;
    let mut tally = reader.finish()?;
    for (subject, elsewhere) in left_out {
        let reason = format!(
            "alike on every kernel: tried on {} (--whole: here as well)",
            elsewhere.name()
        );
        tally.skip(format!("{subject}*"), reason);
    }
    match ending {
        Ending::Exited(code) => tally.close(code == 0, "integration"),
        Ending::TimedOut => tally.fail(format!("did not end within {} s", PATIENCE.as_secs())),
    }
    Ok(tally)
}
