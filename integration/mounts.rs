//! Paths below mounts: the kernel half keeps what leads to a mount for as long as nothing has moved.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use libtest_mimic::Failed;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::kit::{Fence, Need, PYTHON, Suite, Verdict};

/// For each line that it is given it says whether it can open a file of the folder that it is in.
const ASKED: &str = "
import sys
for line in sys.stdin:
    try:
        open('file').close()
        print('allowed', flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
";
const ALLOWED: &str = "allowed";
const DENIED: &str = "Permission denied";

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "mounts::what_is_moved_above_a_file_changes_its_path_at_once",
        &[Need::Root, Need::BpfLsm],
        what_is_moved_above_a_file_changes_its_path_at_once,
    );
}

fn what_is_moved_above_a_file_changes_its_path_at_once() -> Verdict {
    let fence = Fence::with(r#"read = ["@/above/here/**"]"#)?;
    let at = |name: &str| fence.at(name);
    for folder in ["above/here", "elsewhere"] {
        fs::create_dir_all(at(folder))?;
    }
    // What lies below a shared mount cannot be moved, and the host's root may be one.
    let _outer = Mounted::on(fence.folder().path(), |folder| {
        mount(
            Some(folder),
            folder,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )?;
        mount(
            None::<&str>,
            folder,
            None::<&str>,
            MsFlags::MS_PRIVATE,
            None::<&str>,
        )
    })?;
    let here = at("above/here");
    let _inner = Mounted::on(&here, |folder| {
        mount(
            Some("none"),
            folder,
            Some("tmpfs"),
            MsFlags::empty(),
            None::<&str>,
        )
    })?;
    fence.folder().file("above/here/file", "content")?;
    let mut asked = Asked::inside(&fence, &here)?;
    let shift = |from: &str, to: &str| {
        mount(
            Some(&at(from)),
            &at(to),
            None::<&str>,
            MsFlags::MS_MOVE,
            None::<&str>,
        )
    };
    // More than once: the first finds out what the others are told by.
    for _ in 0..3 {
        asked.says(ALLOWED, "where the rule has it")?;
        asked.says(ALLOWED, "once more")?;
        fs::rename(at("above"), at("beside"))?;
        asked.says(DENIED, "after a folder above has been renamed")?;
        asked.says(DENIED, "and once more")?;
        fs::rename(at("beside"), at("above"))?;
        asked.says(ALLOWED, "after it has got its name back")?;
        shift("above/here", "elsewhere")?;
        asked.says(DENIED, "after the mount has been moved")?;
        shift("elsewhere", "above/here")?;
        asked.says(ALLOWED, "after it has been moved back")?;
    }
    Ok(())
}

/// A process in a fence that answers.
struct Asked {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Asked {
    fn inside(fence: &Fence, folder: &Path) -> Result<Self, Failed> {
        let mut child = fence
            .run([PYTHON, "-IS", "-c", ASKED])
            .in_folder(folder)
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let questions = child.stdin.take().ok_or("no standard input")?;
        let answers = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        Ok(Self {
            child,
            questions,
            answers,
        })
    }

    fn says(&mut self, expected: &str, when: &str) -> Verdict {
        self.questions.write_all(b"\n")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        match answer.trim_end() == expected {
            true => Ok(()),
            false => Err(format!("{when}: {answer:?} instead of {expected}").into()),
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // It has ended by itself otherwise.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A mount that goes with the value.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn on(folder: &'a Path, mount: impl FnOnce(&Path) -> nix::Result<()>) -> Result<Self, Failed> {
        mount(folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // One that has been moved goes with the one around it.
        umount2(self.0, MntFlags::MNT_DETACH).ok();
    }
}
