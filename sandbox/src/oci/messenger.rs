//! The small program that a runtime executes as hook in place of the program itself: `sandbox/hook/main.rs`, put beside the runtime's link
//! by `ringfence oci install`. What it does not find done it has the program itself do.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Compiled by build.rs.
pub(super) static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hook"));
/// Its name, beside the link that engines call.
pub(super) const NAME: &str = "ringfence-hook";
/// Who else than root may write.
const OTHERS_WRITE: u32 = 0o022;

/// The program, where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messenger {
    /// Absolute.
    pub program: PathBuf,
}

impl Messenger {
    /// The one beside the link that this program was `called` by. It has to be root's, and the very one that belongs to this program: one
    /// of another version says other things. Where there is none the program itself is the hook, which takes longer and is the same.
    #[must_use]
    pub fn beside(called: &OsStr) -> Option<Self> {
        let folder = Path::new(called).parent().filter(|it| it.is_absolute())?;
        let program = folder.join(NAME);
        is_it(&program).then_some(Self { program })
    }

    /// The words of the hooks where a container comes to be and where it has gone: what they ask of it, where the monitor waits, and what is
    /// executed with the other words of `words` where nobody does. The first three of `words` stay the first three.
    #[must_use]
    pub fn hooks(meeting: &str, program: &str, words: &[String]) -> [Vec<String>; 2] {
        let (first, rest) = words.split_at(3.min(words.len()));
        ["begin", "end"].map(|ask| {
            let own = [ask, meeting, program].map(str::to_owned);
            [first, &own, rest].concat()
        })
    }
}

/// Whether root alone can have put these bytes there.
fn is_it(path: &Path) -> bool {
    let is_roots = |found: fs::Metadata| {
        found.is_file() && found.uid() == 0 && found.mode() & OTHERS_WRITE == 0
    };
    fs::metadata(path).is_ok_and(is_roots) && fs::read(path).is_ok_and(|found| found == PROGRAM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn it_stands_between_what_marks_our_hooks_and_their_options() {
        let words = ["ringfence", "oci", "hook", "--fallback"].map(str::to_owned);
        let hook = |ask| ["ringfence", "oci", "hook", ask, "/m", "/p", "--fallback"];
        let hooks = Messenger::hooks("/m", "/p", &words);
        assert_eq!(hooks, ["begin", "end"].map(hook));
    }

    #[test]
    fn only_the_one_that_belongs_to_this_program_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let called = folder.path().join("ringfence-runc");
        let found = || Messenger::beside(called.as_os_str());
        assert_eq!(found(), None);
        let path = folder.path().join(NAME);
        fs::write(&path, PROGRAM).unwrap();
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o755);
        let is_root = fs::metadata(&path).unwrap().uid() == 0;
        assert_eq!(found().is_some(), is_root);
        mode(0o775);
        assert_eq!(found(), None);
        mode(0o755);
        let mut other = PROGRAM.to_vec();
        *other.last_mut().unwrap() ^= 1;
        fs::write(&path, other).unwrap();
        assert_eq!(found(), None);
        assert_eq!(Messenger::beside(OsStr::new("ringfence-runc")), None);
    }
}
