//! Folders to try things in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libtest_mimic::Failed;
use tempfile::TempDir;

/// A folder that is removed with its handle, that everybody may enter, and whose path holds no symbolic link.
///
/// It lies in `RINGFENCE_TEST_DIR`, or in /tmp: in a machine that is a plain tmpfs, while the rest of the tree is an
/// overlay, whose files are not where they seem to be.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _kept: TempDir,
}

impl Folder {
    /// A new, empty one.
    pub(crate) fn new() -> Result<Self, Failed> {
        let above = std::env::var_os("RINGFENCE_TEST_DIR")
            .map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        Self::below(&above)
    }

    /// A new, empty one in this folder.
    pub(crate) fn below(above: &Path) -> Result<Self, Failed> {
        let kept = tempfile::Builder::new()
            .prefix("ringfence-test-")
            .tempdir_in(above)?;
        let path = kept.path().canonicalize()?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
        Ok(Self { path, _kept: kept })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where something in it is.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A file in it with this content, and the folders above the file.
    pub(crate) fn file(&self, name: &str, content: &str) -> Result<PathBuf, Failed> {
        let path = self.at(name);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above)?;
        }
        fs::write(&path, content)?;
        Ok(path)
    }

    /// A script in it that may be executed.
    pub(crate) fn script(&self, name: &str, content: &str) -> Result<PathBuf, Failed> {
        let path = self.file(name, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}
