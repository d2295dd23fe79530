//! A fence that stands while a test goes on, and processes that enter it by its cgroup: as root, with every capability,
//! and without a filter of system calls. What is denied to them is denied by the hooks alone.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use libtest_mimic::Failed;

use super::fence::Fence;

/// Enters the cgroup, then executes: from there on it is fenced.
const ENTER: &str = r#"echo 0 > "$0/cgroup.procs" && exec "$@""#;

/// A fence with a prober inside that waits.
pub(crate) struct Standing {
    child: Child,
    out: BufReader<ChildStdout>,
    cgroup: PathBuf,
}

impl Standing {
    /// Starts the fence, and waits until its prober has the word. Once told to go on, it does the acts.
    pub(crate) fn of(fence: &Fence, acts: &[&str]) -> Result<Self, Failed> {
        let acts: Vec<&str> = ["wait"].iter().chain(acts).copied().collect();
        let mut child = fence
            .prober(&acts)
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut out = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut first = String::new();
        out.read_line(&mut first)?;
        let cgroup = cgroup_of_child(child.id());
        let mut standing = Self {
            child,
            out,
            cgroup: PathBuf::new(),
        };
        if first != "ready\n" {
            standing.end()?;
            return Err(format!("the prober did not start: {first:?}").into());
        }
        match cgroup {
            Ok(cgroup) => standing.cgroup = cgroup,
            Err(error) => {
                standing.end()?;
                return Err(error);
            }
        }
        Ok(standing)
    }

    /// The directory of the fence's cgroup.
    pub(crate) fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// A command that runs inside.
    pub(crate) fn entered(&self, program: &str) -> Command {
        entered(&self.cgroup, program)
    }

    /// Lets the prober go on, and returns what it said.
    pub(crate) fn end(mut self) -> Result<Vec<String>, Failed> {
        // Closed, it goes on as well.
        if let Some(mut input) = self.child.stdin.take() {
            input.write_all(b"\n").ok();
        }
        let mut rest = String::new();
        self.out.read_to_string(&mut rest)?;
        self.child.wait()?;
        Ok(rest.lines().skip(1).map(str::to_owned).collect())
    }
}

/// A command that enters a cgroup first.
pub(super) fn entered(cgroup: &Path, program: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", ENTER])
        .arg(cgroup)
        .arg(program)
        .stdin(Stdio::null());
    command
}

/// Where the cgroup2 hierarchy is mounted.
pub(super) fn hierarchy() -> Result<&'static str, Failed> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .find(|above| Path::new(above).join("cgroup.procs").exists())
        .ok_or_else(|| "no cgroup2 hierarchy is mounted".into())
}

/// The cgroup of the only child of a process.
fn cgroup_of_child(parent: u32) -> Result<PathBuf, Failed> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{parent}/task"))? {
        let list = fs::read_to_string(thread?.path().join("children"))?;
        children.extend(list.split_whitespace().map(str::to_owned));
    }
    let [child] = children.as_slice() else {
        return Err(format!("the supervisor's children: {children:?}").into());
    };
    let groups = fs::read_to_string(format!("/proc/{child}/cgroup"))?;
    let group = groups
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .ok_or("the process is in no cgroup2")?;
    Ok(Path::new(hierarchy()?).join(group))
}
