//! Which rule decides about a path, and why. Asks every rule by itself, with the regular expression library: slower than
//! the automaton and independent of it, so that tests compare both.

use ringfence_abi::rights;
use serde::Serialize;

use super::bind::Bound;
use super::network::BoundNetwork;
use super::section::Section;
use crate::policy::Mode;
use crate::profile::{Origin, Right, pattern};

/// What stands in a task's directory in `/proc` (fs/proc/base.c, 6.18: `tgid_base_stuff`, `tid_base_stuff`).
const TOLD_OF_TASKS: &[&str] = &[
    "arch_status",
    "attr",
    "autogroup",
    "auxv",
    "cgroup",
    "children",
    "clear_refs",
    "cmdline",
    "comm",
    "coredump_filter",
    "cpuset",
    "cwd",
    "environ",
    "exe",
    "fail-nth",
    "fd",
    "fd/0",
    "fdinfo",
    "fdinfo/0",
    "gid_map",
    "io",
    "ksm_merging_pages",
    "ksm_stat",
    "latency",
    "limits",
    "loginuid",
    "make-it-fail",
    "map_files",
    "maps",
    "mem",
    "mountinfo",
    "mounts",
    "mountstats",
    "net",
    "ns",
    "numa_maps",
    "oom_adj",
    "oom_score",
    "oom_score_adj",
    "pagemap",
    "patch_state",
    "personality",
    "projid_map",
    "root",
    "sched",
    "schedstat",
    "seccomp_cache",
    "sessionid",
    "setgroups",
    "smaps",
    "smaps_rollup",
    "stack",
    "stat",
    "statm",
    "status",
    "syscall",
    "task",
    "timens_offsets",
    "timers",
    "timerslack_ns",
    "uid_map",
    "wchan",
];

/// The rules of one run, to be asked.
#[derive(Debug)]
pub struct Explainer {
    /// Name of the profile.
    pub profile: String,
    /// The rules with all that they cover, and the paths of programs among them.
    pub rules: Vec<Bound>,
    /// The rules about the network.
    pub network: Vec<BoundNetwork>,
    /// The profile at large, and its programs by their number.
    pub sections: Vec<Section>,
}

/// Why a path may or may not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Explanation {
    /// The path, bytes that are not UTF-8 replaced.
    pub path: String,
    /// What was asked for.
    pub right: Right,
    /// The answer, whatever the section's mode makes of it.
    pub allowed: bool,
    /// What the section does with a denial.
    pub mode: Mode,
    /// The path of the program inside which this is asked, as the profile spells it; `None` outside of every program.
    pub program: Option<String>,
    /// The path of the program whose rights apply after an exec, if it has rights of its own.
    pub enters: Option<String>,
    /// The rule that decides, if one does.
    pub rule: Option<Deciding>,
    /// What else helps to understand it.
    pub hint: Option<String>,
    /// What to paste to allow it, if it is denied and that would help.
    pub suggestion: Option<Suggestion>,
}

/// The rule that decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deciding {
    /// What it grants or takes: the key of the list that it is in.
    pub right: &'static str,
    /// As it was written.
    pub text: String,
    /// What of it covers the path, variables filled in.
    pub covers: String,
    /// Where it was written.
    pub origin: String,
    /// It is part of every fence.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub built_in: bool,
    /// Why, in its author's words.
    pub because: Option<String>,
    /// A denial by it is no news.
    pub expected: bool,
}

/// The least that allows one path, and nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// A line for the `[files]` or `[network]` section, that of the program if there is one.
    pub profile: String,
    /// Arguments for the command line, quoted for a shell. `None` inside a program that inherits nothing: what the command
    /// line says does not hold there.
    pub flag: Option<String>,
}

impl Explainer {
    /// The rights of `path`, an absolute path without a slash at its end, outside of every program: what the automaton has
    /// to answer.
    #[must_use]
    pub fn rights(&self, path: &[u8]) -> u8 {
        self.rights_in(0, path)
    }

    /// The rights of `path` inside the program of this number; 0 is outside of every program.
    #[must_use]
    pub fn rights_in(&self, program: u8, path: &[u8]) -> u8 {
        let mut granted = 0;
        for bound in self.rules_of(self.section(program)) {
            // A rule about a right that is granted already changes nothing.
            let bits = bound.rule.right.bits();
            let is_deny = bound.rule.right == Right::Deny;
            if (!is_deny && granted & bits != 0) || !bound.covers(path) {
                continue;
            }
            if is_deny {
                return 0;
            }
            granted |= bits;
        }
        granted & rights::ALL
    }

    /// The number of the program that an exec of `path` enters from inside the program of this number; 0 if the exec
    /// leaves the rights as they are.
    #[must_use]
    pub fn entered(&self, program: u8, path: &[u8]) -> u8 {
        let section = self.section(program);
        let executes = match section.mode {
            Mode::Enforce => self.rights_in(program, path) & rights::EXEC != 0,
            // What no rule allows is allowed; what is denied by name enters nothing.
            Mode::Audit | Mode::Off => self.first(section, path, Right::Deny).is_none(),
        };
        let covered = |&number: &u8| {
            let path_of = self.path(self.section(number));
            path_of.is_some_and(|bound| bound.covers(path))
        };
        let found = section.entries.iter().copied().find(covered);
        found.filter(|_| executes).unwrap_or(0)
    }

    /// The program's path as it was written, for people; `None` outside of every program.
    #[must_use]
    pub fn program(&self, number: u8) -> Option<String> {
        self.path_of(self.section(number))
    }

    /// The rules that hold in `section`.
    pub fn rules_of<'a>(&'a self, section: &'a Section) -> impl Iterator<Item = &'a Bound> {
        section.rules.iter().map(|&rule| &self.rules[rule])
    }

    /// The path of the program that `section` is about.
    pub(super) fn path(&self, section: &Section) -> Option<&Bound> {
        section.path.map(|path| &self.rules[path])
    }

    pub(super) fn path_of(&self, section: &Section) -> Option<String> {
        self.path(section).map(|path| path.rule.shown())
    }

    /// Whether what the command line allows holds in `section`: it is added to the profile at large.
    pub(super) fn takes_flags(&self, section: &Section) -> bool {
        let around = || &self.sections[usize::from(section.parent)];
        section.path.is_none() || (section.inherit && self.takes_flags(around()))
    }

    /// A number that no program has stands for the profile at large: an explanation decides nothing.
    pub(super) fn section(&self, program: u8) -> &Section {
        self.sections
            .get(usize::from(program))
            .unwrap_or(&self.sections[0])
    }

    /// Which rule decides whether `path` may be used for `right`. For [`Right::Deny`] the answer is about no right at all:
    /// whether a deny rule covers it.
    #[must_use]
    pub fn explain(&self, path: &[u8], right: Right) -> Explanation {
        self.explain_in(0, path, right)
    }

    /// The same inside the program of this number; 0 is outside of every program.
    #[must_use]
    pub fn explain_in(&self, program: u8, path: &[u8], right: Right) -> Explanation {
        let section = self.section(program);
        let denying = self.first(section, path, Right::Deny);
        let allowing = self
            .first(section, path, right)
            .filter(|_| right != Right::Deny);
        let allowed = denying.is_none() && allowing.is_some();
        let hint = match &denying {
            Some(rule) if rule.built_in => Some("no profile can change it".to_owned()),
            Some(rule) => Some(format!(
                "a deny rule beats every allow rule; change it at {}",
                rule.origin
            )),
            None if allowed => None,
            None => self.nearly(section, path, right),
        };
        let suggestion = (!allowed && denying.is_none() && right != Right::Deny)
            .then(|| Suggestion::new(path, right, self.takes_flags(section)));
        let enters = if allowed && right == Right::Exec {
            self.program(self.entered(program, path))
        } else {
            None
        };
        Explanation {
            path: String::from_utf8_lossy(path).into_owned(),
            right,
            allowed,
            mode: section.mode,
            program: self.path_of(section),
            enters,
            rule: denying.or(allowing),
            hint,
            suggestion,
        }
    }

    /// The first rule of `right` that covers `path`.
    fn first(&self, section: &Section, path: &[u8], right: Right) -> Option<Deciding> {
        let rules = self.rules_of(section);
        let mut of_right = rules.filter(|bound| bound.rule.right == right);
        of_right.find_map(|bound| {
            let cover = bound.covers.iter().find(|cover| cover.covers(path))?;
            Some(Deciding {
                right: right.name(),
                text: bound.rule.shown(),
                covers: cover.glob.text(),
                origin: bound.rule.origin.to_string(),
                built_in: matches!(bound.rule.origin, Origin::BuiltIn(_)),
                because: bound.rule.because.clone(),
                expected: bound.rule.expected,
            })
        })
    }

    /// Whether no deny rule is about what `/proc` tells a task of itself.
    pub(super) fn shows_own_tasks(&self, section: &Section) -> bool {
        let places = [b"/proc/1/".as_slice(), b"/proc/1/task/1/"];
        let mut all = places.iter().flat_map(|place| {
            TOLD_OF_TASKS
                .iter()
                .map(|name| [place, name.as_bytes()].concat())
        });
        all.all(|path| self.first(section, &path, Right::Deny).is_none())
    }

    /// What a rule that does not cover `path` would have to be like.
    fn nearly(&self, section: &Section, path: &[u8], right: Right) -> Option<String> {
        let rules = self.rules_of(section);
        for bound in rules.filter(|bound| bound.rule.right == right) {
            for one in &bound.unfollowed {
                let inside = path.starts_with(&one.link.target);
                if inside {
                    return Some(format!(
                        "rule `{}` ({}) leads there over the link `{}`, which is not followed: {}",
                        bound.rule.shown(),
                        bound.rule.origin,
                        String::from_utf8_lossy(&one.link.path),
                        one.reason,
                    ));
                }
            }
            for cover in &bound.covers {
                if cover.glob.is_literal()
                    && !cover.glob.subtree
                    && is_below(path, &cover.glob.text())
                {
                    return Some(format!(
                        "rule `{0}` ({1}) covers the directory alone; `{0}/**` covers what is in it",
                        bound.rule.shown(),
                        bound.rule.origin,
                    ));
                }
            }
        }
        None
    }
}

fn is_below(path: &[u8], directory: &str) -> bool {
    pattern::escape(path)
        .strip_prefix(directory.trim_end_matches('/'))
        .is_some_and(|rest| rest.starts_with('/'))
        && directory != "/"
}

impl Suggestion {
    /// What allows `path` alone to be used for `right`; `by_flag` if the command line can say so.
    fn new(path: &[u8], right: Right, by_flag: bool) -> Self {
        let text = written(path);
        let quoted = shlex::try_quote(&text).map_or_else(|_| text.clone(), Into::into);
        Self {
            profile: format!("{right} = [{}]", toml::Value::String(text.clone())),
            flag: by_flag.then(|| format!("--{right} {quoted}")),
        }
    }
}

/// A path as a rule about it says it: tasks have other numbers the next time.
fn written(path: &[u8]) -> String {
    let text = pattern::escape(path);
    let mut names: Vec<_> = text.split('/').collect();
    let is_number = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    if names.len() > 2 && names[..2] == ["", "proc"] && is_number(names[2]) {
        names[2] = "[0-9]*";
        if names.len() > 4 && names[3] == "task" && is_number(names[4]) {
            names[4] = "[0-9]*";
        }
    }
    names.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_suggested_of_tasks_holds_for_other_numbers() {
        for (path, text) in [
            ("/proc/12/environ", "/proc/[0-9]*/environ"),
            ("/proc/12/task/13/comm", "/proc/[0-9]*/task/[0-9]*/comm"),
            ("/proc/12", "/proc/[0-9]*"),
            ("/proc/12/fd/3", "/proc/[0-9]*/fd/3"),
            ("/proc/irq/12/x", "/proc/irq/12/x"),
            ("/srv/proc/12/a*", "/srv/proc/12/a\\*"),
        ] {
            assert_eq!(written(path.as_bytes()), text);
        }
    }
}
