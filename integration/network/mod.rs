//! Rules about addresses, with the kernel half alone: by the hooks, and by the programs on the cgroup that judge where there
//! are no hooks. Every act is tried without a fence as well, where it has to work.

mod greeting;
mod link;
mod outside;
mod policy;
mod ports;
mod reach;
mod resolver;
mod serve;
mod unix;

use std::path::PathBuf;
use std::process::Command;

use libtest_mimic::Failed;
use ringfence::event::Event;
use ringfence::policy::Policy;

use crate::kit::{ByHand, Folder, Need, PYTHON, Suite, Verdict};

/// What judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judge {
    /// LSM hooks, and the programs on the cgroup below them.
    Hooks,
    /// The programs on the cgroup.
    Cgroup,
}

const BY_HOOKS: &[Need] = &[Need::Root, Need::BpfLsm, Need::Cgroup];
const BY_CGROUP: &[Need] = &[Need::Root, Need::Cgroup];

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    let mut both = |name: &str, test: fn(Judge) -> Verdict| {
        suite.test(format!("network::hooks::{name}"), BY_HOOKS, move || {
            test(Judge::Hooks)
        });
        suite.test(format!("network::cgroup::{name}"), BY_CGROUP, move || {
            test(Judge::Cgroup)
        });
    };
    reach::register(&mut both);
    greeting::register(&mut both);
    serve::register(&mut both);
    resolver::register(&mut both);
    reach::register_by_hooks(suite);
    greeting::register_by_hooks(suite);
    link::register(suite);
    unix::register(suite);
    ports::register(suite);
}

/// A fence, and the prober that goes into it.
struct Scene {
    fence: ByHand,
    prober: PathBuf,
    _folder: Folder,
}

impl Scene {
    fn new(judge: Judge, policy: &Policy) -> Result<Self, Failed> {
        let folder = Folder::new()?;
        let prober = folder.file("probe.py", include_str!("probe.py"))?;
        let fence = match judge {
            Judge::Hooks => ByHand::new(policy)?,
            Judge::Cgroup => ByHand::beside_fallback(policy)?,
        };
        Ok(Self {
            fence,
            prober,
            _folder: folder,
        })
    }

    /// The prober inside.
    fn inside(&self, acts: &[String]) -> Command {
        let mut command = self.fence.entered(PYTHON);
        command.arg("-IS").arg(&self.prober).args(acts);
        command
    }

    /// The prober without a fence.
    fn without(&self, acts: &[String]) -> Command {
        let mut command = Command::new(PYTHON);
        command.arg("-IS").arg(&self.prober).args(acts);
        command
    }

    /// Each act works without a fence, and ends as claimed inside. One that this kernel does not have must not work inside
    /// either.
    fn tries(&self, acts: &[(String, &str)]) -> Verdict {
        let tried: Vec<_> = acts.iter().map(|(act, _)| act.clone()).collect();
        let without = lines(self.without(&tried))?;
        let inside = lines(self.inside(&tried))?;
        let mut wrong = Vec::new();
        for (position, (act, expected)) in acts.iter().enumerate() {
            let end = |lines: &[String]| lines.get(position).cloned().unwrap_or_default();
            let (free, fenced) = (end(&without), end(&inside));
            let is_absent = [
                "EAFNOSUPPORT",
                "EPROTONOSUPPORT",
                "ESOCKTNOSUPPORT",
                "ENOPROTOOPT",
            ]
            .contains(&free.as_str());
            let right = match is_absent {
                true => fenced != "ok",
                false => free == "ok" && fenced == *expected,
            };
            if !right {
                wrong.push(format!(
                    "`{act}`: {fenced}, not {expected}; without a fence: {free}"
                ));
            }
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(wrong.join("\n").into()),
        }
    }

    /// Takes it down; its denials.
    fn end(self) -> Result<Vec<Event>, Failed> {
        self.fence.end()
    }
}

fn lines(mut command: Command) -> Result<Vec<String>, Failed> {
    let output = command.output()?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the prober failed: {error}").into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(str::to_owned).collect())
}
