//! The kernels that machines run: the distribution's current build of a line, fetched once and kept.
//!
//! Builds vanish from the archive when the next one comes, so nothing is pinned; what ran is said at every boot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::archive::Archive;
use super::initrd;
use crate::place;
use crate::tool::{run, say};

/// A line of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Release {
    /// Debian 12's own: the oldest that we promise
    #[value(name = "6.1")]
    V6_1,
    /// The long-term kernel of Debian 13, as Debian 12 has it
    #[value(name = "6.12")]
    V6_12,
    /// The newest in Debian 13's backports, or else in unstable
    #[value(name = "newest")]
    Newest,
}

impl Release {
    /// As the command line has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Newest => "newest",
        }
    }

    /// Suites to look in, in this order, and the package that depends on the current build.
    fn sources(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::V6_1 => (&["bookworm-security"], "linux-image-cloud-amd64"),
            Self::V6_12 => (&["bookworm-security"], "linux-image-6.12-cloud-amd64"),
            Self::Newest => (&["trixie-backports", "sid"], "linux-image-cloud-amd64"),
        }
    }
}

/// A kernel that can be booted.
pub(crate) struct Kernel {
    /// As `uname -r` will say.
    pub(crate) version: String,
    /// The compressed kernel.
    pub(crate) image: PathBuf,
    /// The first file system of the machine, without the job.
    pub(crate) initrd: PathBuf,
}

/// After this long the archive is asked whether there is a newer build.
const FRESH: Duration = Duration::from_secs(7 * 24 * 3600);

/// The cached kernel if it is fresh, else the archive's; the cached one again if the archive cannot be reached.
pub(crate) fn get(release: Release, refresh: bool) -> Result<Kernel> {
    let cache = cache();
    let current = cache.join(format!("{}.current", release.name()));
    let cached = fs::read_to_string(&current)
        .ok()
        .and_then(|version| open(&cache, version.trim()).ok());
    let age = current
        .metadata()
        .and_then(|seen| seen.modified())
        .map(|then| SystemTime::now().duration_since(then));
    let fresh = matches!(age, Ok(Ok(age)) if age < FRESH) && !refresh;
    match cached {
        Some(kernel) if fresh => Ok(kernel),
        Some(kernel) => fetch(release, &cache, &current).or_else(|error| {
            say(format!(
                "using the cached {}: no newer one could be looked for: {error:#}",
                kernel.version
            ));
            Ok(kernel)
        }),
        None => fetch(release, &cache, &current).with_context(|| {
            format!(
                "no kernel {} is cached and none could be had",
                release.name()
            )
        }),
    }
}

fn cache() -> PathBuf {
    std::env::var_os("RINGFENCE_VM_CACHE").map_or_else(|| place::target().join("vm"), PathBuf::from)
}

fn open(cache: &Path, version: &str) -> Result<Kernel> {
    let folder = cache.join(version);
    let kernel = Kernel {
        version: fs::read_to_string(folder.join("version"))?
            .trim()
            .to_owned(),
        image: folder.join("vmlinuz"),
        initrd: folder.join(initrd::FILE),
    };
    for file in [&kernel.image, &kernel.initrd] {
        if !file.exists() {
            bail!("{} is not there", file.display());
        }
    }
    Ok(kernel)
}

/// Everything is made in a folder of its own and renamed into place: two fetches at once cost time, not correctness.
fn fetch(release: Release, cache: &Path, current: &Path) -> Result<Kernel> {
    fs::create_dir_all(cache).with_context(|| format!("could not make {}", cache.display()))?;
    let work =
        tempfile::tempdir_in(cache).context("could not make a folder to unpack a kernel in")?;
    let (suites, meta) = release.sources();
    let mut refused = Vec::new();
    for suite in suites {
        say(format!("looking for kernel {} in {suite}", release.name()));
        match fetch_from(suite, meta, cache, work.path()) {
            Ok(folder) => {
                let kernel = open(cache, &folder)?;
                let note = work.path().join("current");
                fs::write(&note, &folder)?;
                fs::rename(&note, current).context("could not note the kernel as current")?;
                return Ok(kernel);
            }
            Err(error) => refused.push(format!("{suite}: {error:#}")),
        }
    }
    bail!("{}", refused.join("; "))
}

/// Gives the folder's name below the cache.
fn fetch_from(suite: &str, meta: &str, cache: &Path, work: &Path) -> Result<String> {
    let archive = Archive::of_suite(suite, work)?;
    let (name, packages) = archive.kernel_packages(meta)?;
    // The guest's own scripts are part of what is cached: another revision of them, another folder.
    let folder = format!("{name}-{}", initrd::revision());
    if open(cache, &folder).is_ok() {
        return Ok(folder);
    }
    say(format!("fetching {name}"));
    let tree = work.join("tree");
    for package in archive.download(&packages)? {
        run(Command::new("dpkg-deb")
            .arg("--extract")
            .arg(package)
            .arg(&tree))?;
    }
    let finished = work.join("finished");
    fs::create_dir_all(&finished)?;
    initrd::build(&tree, &finished)?;
    match fs::rename(&finished, cache.join(&folder)) {
        Err(error) if open(cache, &folder).is_err() => {
            Err(error).context("could not put the kernel into the cache")
        }
        // Or another fetch was first.
        _ => Ok(folder),
    }
}
