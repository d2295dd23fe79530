//! A suite of the distribution's archive, asked through apt without touching this machine's apt state.
//!
//! The archive's address, proxy and credentials are those of the machine's own configuration: only lists, status and
//! cache are throw-away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tool::{read, run};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One suite, its lists fetched.
pub(crate) struct Archive {
    state: PathBuf,
}

impl Archive {
    /// Fetches the suite's lists into a folder below `work`.
    pub(crate) fn of_suite(suite: &str, work: &Path) -> Result<Self> {
        let archive = Self {
            state: work.join("apt").join(suite),
        };
        for folder in [
            "lists/partial",
            "cache/archives/partial",
            "downloads",
            "empty",
        ] {
            fs::create_dir_all(archive.state.join(folder))
                .context("could not make a throw-away apt state")?;
        }
        fs::write(archive.state.join("status"), "")
            .context("could not make a throw-away apt state")?;
        let address = address(suite)?;
        let line = format!("deb [arch=amd64 signed-by={KEYRING}] {address} {suite} main\n");
        fs::write(archive.state.join("sources.list"), line)
            .context("could not make a throw-away apt state")?;
        run(archive
            .apt("apt-get")
            .args(["-qq", "update"])
            .stdout(std::io::stderr()))?;
        Ok(archive)
    }

    /// The build that `meta` depends on today, and the packages that hold its image and modules.
    pub(crate) fn kernel_packages(&self, meta: &str) -> Result<(String, Vec<String>)> {
        let depends = read(self.apt("apt-cache").args(["depends", meta]))?;
        let image = depends
            .lines()
            .find_map(|line| {
                line.trim()
                    .strip_prefix("Depends: ")
                    .filter(|name| name.starts_with("linux-image-"))
            })
            .with_context(|| format!("{meta} depends on no kernel"))?;
        let flavour = image
            .trim_start_matches("linux-image-")
            .trim_end_matches("-unsigned");
        // Newer builds come in three parts (image, modules, the lists of what is built in), and the image package is an
        // empty one that joins them.
        let parts = ["binary", "modules", "base"].map(|part| format!("linux-{part}-{flavour}"));
        let split = parts.iter().all(|part| self.has(part));
        let packages = if split {
            parts.to_vec()
        } else {
            vec![image.to_owned()]
        };
        Ok((flavour.to_owned(), packages))
    }

    /// Files of the downloaded packages.
    pub(crate) fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        let folder = self.state.join("downloads");
        run(self
            .apt("apt-get")
            .args(["-qq", "download"])
            .args(packages)
            .current_dir(&folder)
            .stdout(std::io::stderr()))?;
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder).context("could not list what apt downloaded")? {
            files.push(entry.context("could not list what apt downloaded")?.path());
        }
        Ok(files)
    }

    fn has(&self, package: &str) -> bool {
        read(
            self.apt("apt-cache")
                .args(["show", "--no-all-versions", package]),
        )
        .is_ok_and(|text| !text.is_empty())
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let state = self.state.display();
        for option in [
            format!("Dir::Etc::sourcelist={state}/sources.list"),
            format!("Dir::Etc::sourceparts={state}/empty"),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            format!("Dir::Etc::preferencesparts={state}/empty"),
            format!("Dir::State={state}"),
            format!("Dir::State::Lists={state}/lists"),
            format!("Dir::State::status={state}/status"),
            format!("Dir::Cache={state}/cache"),
            "Acquire::Languages=none".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            // The sandbox user could not read a state that lies in root's own folder.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

/// The archive that holds the suite: one that this machine's apt knows, or the sibling of one.
fn address(suite: &str) -> Result<String> {
    let format = [
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
    ];
    let known = read(Command::new("apt-get").args(format))?;
    let ending = if suite.ends_with("-security") {
        "debian-security"
    } else {
        "debian"
    };
    let known: Vec<&str> = known
        .lines()
        .map(|line| line.trim_end_matches('/'))
        .collect();
    if let Some(exact) = known
        .iter()
        .find(|address| address.rsplit('/').next() == Some(ending))
    {
        return Ok((*exact).to_owned());
    }
    let sibling = known.iter().find_map(|address| {
        address
            .rsplit_once('/')
            .filter(|(_, last)| last.starts_with("debian"))
    });
    match sibling {
        Some((parent, _)) => Ok(format!("{parent}/{ending}")),
        None => bail!(
            "this machine's apt knows no Debian archive to take a kernel from; add one to its sources"
        ),
    }
}
