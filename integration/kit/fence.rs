//! A fence with a small profile made for one test, and a prober inside that tries one act after the other.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use libtest_mimic::Failed;

use super::folder::Folder;
use super::need::Need;
use super::run::{Finished, Ringfence};
use super::suite::Verdict;

/// The prober, in the folder.
const PROBE: &str = "trial/probe.py";
/// Not the first on `PATH`, which may be a script that starts another one.
pub(crate) const PYTHON: &str = "/usr/bin/python3";
/// What the prober itself needs.
const PROBER: &str = r#"read = ["/usr/bin/python3*", "@/trial/probe.py"]
exec = ["/usr/bin/python3*"]"#;

/// How an act of the prober ends where a rule allows it.
pub(crate) const OK: &str = "ok";
/// And where none does: EACCES, EPERM, or what the mounts of the fallback answer, EROFS and EXDEV.
pub(crate) const DENIED: &str = "denied";

/// A folder, and what starts a prober in it.
pub(crate) struct Fence {
    folder: Folder,
    options: Vec<OsString>,
}

impl Fence {
    /// Under these rules of a `[files]` section, in which `@` stands for the folder.
    pub(crate) fn with(rules: &str) -> Result<Self, Failed> {
        Self::around(Folder::new()?, rules)
    }

    /// The same with a folder that is there.
    pub(crate) fn around(folder: Folder, rules: &str) -> Result<Self, Failed> {
        let fence = Self::plain(folder)?;
        let mut options = Vec::new();
        for (name, rules) in [("trial", rules), ("prober", PROBER)] {
            let rules = rules.replace('@', &fence.folder.path().display().to_string());
            let text =
                format!("version = 1\nname = \"{name}\"\nextends = [\"base\"]\n[files]\n{rules}\n");
            let path = fence.folder.file(&format!("trial/{name}.toml"), &text)?;
            options.extend([OsString::from("-p"), path.into()]);
        }
        Ok(Self { options, ..fence })
    }

    /// Under the profile that applies when none is named.
    pub(crate) fn untrusted() -> Result<Self, Failed> {
        Self::plain(Folder::new()?)
    }

    fn plain(folder: Folder) -> Result<Self, Failed> {
        folder.file(PROBE, include_str!("probe.py"))?;
        Ok(Self {
            folder,
            options: Vec::new(),
        })
    }

    /// With more options of `ringfence run`.
    pub(crate) fn and<Word: Into<OsString>>(
        mut self,
        options: impl IntoIterator<Item = Word>,
    ) -> Self {
        self.options.extend(options.into_iter().map(Into::into));
        self
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Where something in the folder is.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.at(name)
    }

    /// `ringfence run`, started in the folder, with any command.
    pub(crate) fn run<Word: Into<OsString>>(
        &self,
        command: impl IntoIterator<Item = Word>,
    ) -> Ringfence {
        Ringfence::with(["run"])
            .and(self.options.iter())
            .and(["--"])
            .and(command)
            .in_folder(self.folder.path())
            .variable("XDG_STATE_HOME", self.folder.at("trial"))
    }

    /// The same with the prober as the command.
    pub(crate) fn prober(&self, acts: &[&str]) -> Ringfence {
        self.run([PYTHON, "-IS", PROBE]).and(acts.iter().copied())
    }

    /// The prober without a fence.
    pub(crate) fn unfenced(&self, acts: &[&str]) -> Command {
        let mut command = Command::new(PYTHON);
        command
            .args(["-IS", PROBE])
            .args(acts)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Each act ends as claimed.
    pub(crate) fn tries(&self, acts: &[(impl AsRef<str>, &str)]) -> Verdict {
        let acts: Vec<_> = acts.iter().map(|(act, end)| (act.as_ref(), *end)).collect();
        let tried: Vec<&str> = acts.iter().map(|(act, _)| *act).collect();
        let finished = self.prober(&tried).run()?;
        finished.succeeds()?;
        agree(&acts, &finished)
    }
}

/// The lines of the prober are those that were claimed.
fn agree(acts: &[(&str, &str)], finished: &Finished) -> Verdict {
    let out = finished.out();
    let ended: Vec<&str> = out.lines().collect();
    let mut wrong = Vec::new();
    for (position, (act, expected)) in acts.iter().enumerate() {
        let found = ended.get(position).copied().unwrap_or("nothing");
        // Under the fallback, a mount stands in front of what is denied inside an allowed folder.
        let covered = found == "EBUSY" && *expected == DENIED && Need::BpfLsm.unmet().is_some();
        if found != *expected && !covered {
            wrong.push(format!("`{act}`: {found}, not {expected}"));
        }
    }
    finished.claim(
        wrong.is_empty() && ended.len() == acts.len(),
        &format!("other ends: {}", wrong.join("; ")),
    )?;
    Ok(())
}
