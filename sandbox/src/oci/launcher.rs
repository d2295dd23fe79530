//! A program that stands in front of a container's own command, where the kernel has no hooks that judge it.

use std::{
    fs::{self, File},
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};

use super::{Root, bundle::member, calls};

/// What is put in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launcher {
    /// The program, in the container.
    pub program: &'static str,
    /// The directory that it will be in, which the runtime makes.
    pub place: &'static str,
    /// How many descriptors above 2 the command gets.
    pub descriptors: u32,
}

/// How long a container may take from its start to its mounts.
const PATIENCE: Duration = Duration::from_secs(5);

/// System calls that the launcher makes and engines' filters may close. They take rights away, and give none.
const CALLS: [&str; 14] = [
    "landlock_create_ruleset",
    "landlock_add_rule",
    "landlock_restrict_self",
    "seccomp",
    "prctl",
    "openat",
    "openat2",
    "close",
    "close_range",
    "flock",
    "lseek",
    "mmap",
    "getcwd",
    "chdir",
];

impl Launcher {
    /// The words that come first.
    #[must_use]
    pub fn words(&self) -> [String; 2] {
        [self.program.to_owned(), self.descriptors.to_string()]
    }

    /// The words of a process without those of [`Launcher::words`].
    #[must_use]
    pub fn own_words(program: &str, mut words: Vec<String>) -> Vec<String> {
        let ours = words.first().is_some_and(|first| first == program);
        words.drain(..if ours { 2.min(words.len()) } else { 0 });
        words
    }

    /// Waits until the mounts of a container that is starting are laid: until then the launcher's own is closed to execution for a
    /// moment, as every mount is. To be called before the runtime adds a process. `file` is locked until then. A container that does not
    /// start within [`PATIENCE`] is waited for by the launcher itself.
    pub fn wait_for_mounts(&self, cgroup: &Path, file: &str) {
        let Some(locked) = unwritten(self.place, cgroup, file) else {
            return;
        };
        let (unlocked, waited) = mpsc::channel();
        // One that waits longer ends when the runtime is executed.
        thread::spawn(move || {
            // Whatever becomes of it, the launcher looks at the file before anything starts.
            Flock::lock(locked, FlockArg::LockShared).ok();
            unlocked.send(()).ok();
        });
        waited.recv_timeout(PATIENCE).ok();
    }

    /// In a bundle: the process, the directory, and the calls that it makes.
    pub(super) fn put_into(&self, configuration: &mut Value) {
        if let Some(process) = configuration.get_mut("process") {
            self.put_before(process);
        }
        if let Value::Array(mounts) = member(configuration, "mounts", json!([])) {
            mounts.push(json!({
                "destination": self.place, "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "nodev", "noexec", "mode=755", "size=4k"],
            }));
        }
        calls::open(configuration, &CALLS);
    }

    /// The opposite of [`Launcher::put_into`] for the process and the directory.
    pub(super) fn take_out_of(&self, configuration: &mut Value) {
        if let Some(process) = configuration.get_mut("process") {
            self.take_from_before(process);
        }
        if let Some(Value::Array(mounts)) = configuration.get_mut("mounts") {
            mounts.retain(|mount| mount["destination"] != self.place);
        }
    }

    /// In the description of a process. Where there is no command, the runtime says so.
    pub(super) fn put_before(&self, process: &mut Value) {
        let words = process.get_mut("args").and_then(Value::as_array_mut);
        let Some(words) = words.filter(|words| !words.is_empty()) else {
            return;
        };
        words.splice(..0, self.words().map(Value::from));
    }

    /// The opposite of [`Launcher::put_before`].
    pub(super) fn take_from_before(&self, process: &mut Value) {
        let words = process.get_mut("args").and_then(Value::as_array_mut);
        let is_there = |words: &&mut Vec<Value>| words.first().is_some_and(|it| it == self.program);
        if let Some(words) = words.filter(is_there) {
            words.drain(..2.min(words.len()));
        }
    }
}

/// The file at `place` as a process in `cgroup` sees it, if it has nothing in it; `None` as well if there is nobody to ask.
fn unwritten(place: &str, cgroup: &Path, file: &str) -> Option<File> {
    let processes = fs::read_to_string(cgroup.join("cgroup.procs")).ok()?;
    let process = processes.lines().next()?.parse().ok()?;
    let root = Root::of(process, Path::new("/")).ok()?;
    let file = root.regular_file(&Path::new(place).join(file))?;
    (file.metadata().ok()?.len() == 0).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAUNCHER: Launcher = Launcher {
        program: "/l/launch",
        place: "/l",
        descriptors: 1,
    };

    #[test]
    fn it_stands_in_front_of_the_command_until_it_is_taken_out() {
        let mut configuration = json!({ "process": { "args": ["sh", "-c", "x"] } });
        let plain = json!({ "process": configuration["process"], "mounts": [] });
        LAUNCHER.put_into(&mut configuration);
        let words = &configuration["process"]["args"];
        assert_eq!(*words, json!(["/l/launch", "1", "sh", "-c", "x"]));
        assert_eq!(configuration["mounts"].as_array().unwrap().len(), 1);
        let words = serde_json::from_value(words.clone()).unwrap();
        assert_eq!(Launcher::own_words("/l/launch", words), ["sh", "-c", "x"]);
        LAUNCHER.take_out_of(&mut configuration);
        assert_eq!(configuration, plain);
    }

    #[test]
    fn nothing_is_not_made_a_command() {
        let mut configuration = json!({ "process": { "args": [] } });
        LAUNCHER.put_into(&mut configuration);
        assert_eq!(configuration["process"]["args"], json!([]));
    }

    #[test]
    fn a_filter_lets_it_make_its_calls_and_no_filter_is_made() {
        let mut without = json!({ "process": { "args": ["sh"] } });
        LAUNCHER.put_into(&mut without);
        assert!(without["linux"]["seccomp"].is_null());
        let mut with = json!({ "linux": { "seccomp": { "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            { "names": ["openat", "read"], "action": "SCMP_ACT_ALLOW" } ] } } });
        LAUNCHER.put_into(&mut with);
        let rules = with["linux"]["seccomp"]["syscalls"].as_array().unwrap();
        let names = rules[1]["names"].as_array().unwrap();
        assert!(names.contains(&json!("landlock_add_rule")));
        assert!(!names.contains(&json!("openat")));
    }
}
