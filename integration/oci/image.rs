//! A root file system as a distribution lays it out, put together from this host's own packages.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Failed;

use super::bundle::Bundle;
use crate::kit::Verdict;

/// Directories that are links into /usr.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

impl Bundle {
    /// With links into /usr, where the busybox of other tests has directories of its own.
    pub(super) fn with_layout(self) -> Result<Self, Failed> {
        fs::remove_dir_all(self.at("bin"))?;
        for name in MERGED {
            fs::create_dir_all(self.at("usr").join(name))?;
            symlink(Path::new("usr").join(name), self.at(name))?;
        }
        self.file(
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
        )?;
        self.file("etc/group", "root:x:0:\nnogroup:x:65534:\n")?;
        Ok(self)
    }

    /// A file in its root.
    pub(super) fn file(&self, path: &str, text: &str) -> Verdict {
        let path = self.at(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(path, text)?)
    }

    /// A program of the host's with its libraries, where they are on the host.
    pub(super) fn program(&self, name: &str) -> Verdict {
        let program = found(name)?;
        self.copy(&program)?;
        let listed = Command::new("ldd").arg(&program).output()?;
        for word in String::from_utf8(listed.stdout)?.split_whitespace() {
            if word.starts_with('/') && !self.at(&word[1..]).exists() {
                self.copy(Path::new(word))?;
            }
        }
        Ok(())
    }

    /// A file or directory of the host's, at its own path; links become what they lead to.
    pub(super) fn copy(&self, path: &Path) -> Verdict {
        let inside = path.strip_prefix("/")?.to_owned();
        let place = self.at(&inside.to_string_lossy());
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder)?;
        }
        let copied = Command::new("cp")
            .arg("-rL")
            .args([path, &place])
            .status()?;
        match copied.success() {
            true => Ok(()),
            false => Err(format!("{} was not copied", path.display()).into()),
        }
    }
}

/// By the name that it is called by, which may be a link: some programs look at it.
fn found(name: &str) -> Result<PathBuf, Failed> {
    let usual = ["/usr/local/bin", "/usr/sbin", "/usr/bin", "/bin"]
        .map(|folder| Path::new(folder).join(name));
    let found = usual.into_iter().find(|program| program.is_file());
    Ok(found.ok_or(format!("there is no {name}"))?)
}
