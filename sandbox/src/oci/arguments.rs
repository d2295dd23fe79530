//! The command line of a container runtime: runc's, which crun and youki share.
//!
//! It is handed over as it came. What is read here is which bundle would be started: where runc and crun could read the same
//! words differently (`-bundle x` is one option to runc's parser and another to crun's), the words are refused, for the fence
//! would be put into one bundle and the runtime would start another.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::Error;

/// Options before the verb that take a value, of runc, crun and youki.
const GLOBAL_VALUES: &[&str] = &[
    "log",
    "log-format",
    "log-level",
    "root",
    "criu",
    "rootless",
    "cgroup-manager",
];
const GLOBAL_FLAGS: &[&str] = &["debug", "systemd-cgroup", "version", "help", "v", "h"];
/// Options of `create` and `run` that take a value.
const START_VALUES: &[&str] = &[
    "bundle",
    "b",
    "console-socket",
    "pid-file",
    "pidfd-socket",
    "preserve-fds",
];
const START_FLAGS: &[&str] = &[
    "no-pivot",
    "no-new-keyring",
    "no-subreaper",
    "detach",
    "d",
    "keep",
    "help",
    "h",
];
/// Options of `exec` that take a value.
const EXEC_VALUES: &[&str] = &[
    "console-socket",
    "cwd",
    "env",
    "e",
    "user",
    "u",
    "additional-gids",
    "g",
    "process",
    "p",
    "pid-file",
    "pidfd-socket",
    "process-label",
    "apparmor",
    "a",
    "cap",
    "c",
    "preserve-fds",
    "cgroup",
];
const EXEC_FLAGS: &[&str] = &[
    "tty",
    "t",
    "detach",
    "d",
    "no-new-privs",
    "ignore-paused",
    "help",
    "h",
];

/// What the runtime is asked to do, as far as a fence is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A container comes to be.
    Start {
        /// The bundle's directory.
        bundle: PathBuf,
        /// Its name; the runtime complains if it is not there.
        id: Option<String>,
        /// How many descriptors above 2 it gets by option.
        descriptors: u32,
    },
    /// A process is added to a container.
    Exec {
        /// The file that describes it, if a file does.
        process: Option<PathBuf>,
        /// The container.
        id: Option<String>,
        /// Where in the command line the process' own words begin, if they are there.
        command: Option<usize>,
        /// How many descriptors above 2 it gets by option.
        descriptors: u32,
    },
    /// A container is written down, and ends unless it is asked to go on.
    Checkpoint {
        /// The container.
        id: Option<String>,
        /// Whether it is.
        goes_on: bool,
    },
    /// Nothing starts.
    Other,
}

/// One call of a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is asked for.
    pub act: Act,
    /// Where complaints go.
    pub complaint: Complaint,
}

/// Where and how an engine expects to read why its runtime failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaint {
    log: Option<PathBuf>,
    json: bool,
}

impl Call {
    /// Reads a command line; relative paths are taken from `directory`.
    ///
    /// # Errors
    /// With where to complain, if a verb that starts something has an option that cannot be read, or is one that a fence does
    /// not hold.
    pub fn parse(words: &[OsString], directory: &Path) -> Result<Self, (Error, Complaint)> {
        let mut complaint = Complaint::default();
        let parsed = parse(words, directory, &mut complaint);
        match parsed {
            Ok(act) => Ok(Self { act, complaint }),
            Err(error) => Err((error, complaint)),
        }
    }
}

fn parse(words: &[OsString], directory: &Path, complaint: &mut Complaint) -> Result<Act, Error> {
    let mut global = Options::of(words, "", GLOBAL_VALUES, GLOBAL_FLAGS);
    while let Some(option) = global.next_option()? {
        match option {
            ("log", value) => complaint.log = Some(directory.join(value)),
            ("log-format", value) => complaint.json = value == "json",
            _ => {}
        }
    }
    let Some((verb, rest)) = global.rest().split_first() else {
        return Ok(Act::Other);
    };
    match verb.to_str() {
        Some(verb @ ("create" | "run")) => start(verb, rest, directory),
        Some("exec") => exec(rest, words.len(), directory),
        Some("checkpoint") => Ok(checkpoint(rest)),
        Some("restore") => Err(Error::Verb {
            verb: "restore",
            reason: "restored processes execute nothing, which is when a process is put behind a fence; start a new container, or \
                     restore this one without ringfence, and without a fence",
        }),
        _ => Ok(Act::Other),
    }
}

fn start(verb: &str, words: &[OsString], directory: &Path) -> Result<Act, Error> {
    let mut bundle = directory.to_owned();
    let mut descriptors = 0;
    let mut options = Options::of(words, verb, START_VALUES, START_FLAGS);
    while let Some(option) = options.next_option()? {
        match option {
            ("bundle" | "b", value) => bundle = directory.join(value),
            ("preserve-fds", value) => descriptors = options.number(value)?,
            _ => {}
        }
    }
    let rest = options.rest();
    // crun reads options behind the name as well, runc does not.
    if let Some(option) = rest.iter().find(|word| word.as_bytes().starts_with(b"-")) {
        return Err(options.refuse(option));
    }
    Ok(Act::Start {
        bundle,
        id: name(rest),
        descriptors,
    })
}

/// `all` is how many words the whole command line has, of which `words` are the last.
fn exec(words: &[OsString], all: usize, directory: &Path) -> Result<Act, Error> {
    let mut process = None;
    let mut descriptors = 0;
    let mut options = Options::of(words, "exec", EXEC_VALUES, EXEC_FLAGS);
    while let Some(option) = options.next_option()? {
        match option {
            ("process" | "p", value) => process = Some(directory.join(value)),
            ("preserve-fds", value) => descriptors = options.number(value)?,
            _ => {}
        }
    }
    let own = options.rest().get(1..).unwrap_or_default();
    // Some runtimes read an option here, others a word of the process.
    if let Some(option) = own.first()
        && option.as_bytes().starts_with(b"-")
    {
        return Err(options.refuse(option));
    }
    Ok(Act::Exec {
        process,
        id: name(options.rest()),
        command: (!own.is_empty()).then_some(all - own.len()),
        descriptors,
    })
}

/// Read less strictly than what starts something: whatever is misread is refused or left to the runtime, and starts nothing.
fn checkpoint(words: &[OsString]) -> Act {
    const GOES_ON: [&str; 2] = ["leave-running", "pre-dump"];
    let goes_on = |word: &OsString| {
        let word = word.to_string_lossy();
        GOES_ON.contains(&word.trim_start_matches('-')) && word.starts_with('-')
    };
    Act::Checkpoint {
        id: words
            .last()
            .and_then(|word| name(std::slice::from_ref(word))),
        goes_on: words.iter().any(goes_on),
    }
}

fn name(words: &[OsString]) -> Option<String> {
    Some(words.first()?.to_string_lossy().into_owned())
}

/// Options of one verb, read until the first word that is none.
struct Options<'a> {
    words: &'a [OsString],
    verb: &'a str,
    values: &'static [&'static str],
    flags: &'static [&'static str],
}

impl<'a> Options<'a> {
    fn of(
        words: &'a [OsString],
        verb: &'a str,
        values: &'static [&'static str],
        flags: &'static [&'static str],
    ) -> Self {
        Self {
            words,
            verb,
            values,
            flags,
        }
    }

    fn rest(&self) -> &'a [OsString] {
        self.words
    }

    /// The next option with its value, which is empty for a flag.
    fn next_option(&mut self) -> Result<Option<(&'static str, &'a OsStr)>, Error> {
        let Some((word, rest)) = self.words.split_first() else {
            return Ok(None);
        };
        let bytes = word.as_bytes();
        if bytes == b"--" {
            self.words = rest;
            return Ok(None);
        }
        let (name, joined) = match (bytes.strip_prefix(b"--"), bytes.strip_prefix(b"-")) {
            (Some(long), _) => match long.iter().position(|&byte| byte == b'=') {
                Some(at) => (&long[..at], Some(OsStr::from_bytes(&long[at + 1..]))),
                None => (long, None),
            },
            (None, Some(short)) if short.len() == 1 => (short, None),
            (None, Some(_)) => return Err(self.refuse(word)),
            (None, None) => return Ok(None),
        };
        // One letter behind two dashes means the same to runc, and nothing to crun.
        if bytes.starts_with(b"--") && name.len() == 1 {
            return Err(self.refuse(word));
        }
        let known = |list: &[&'static str]| list.iter().copied().find(|one| one.as_bytes() == name);
        if let Some(flag) = known(self.flags) {
            self.words = rest;
            return Ok(Some((flag, OsStr::new(""))));
        }
        let Some(option) = known(self.values) else {
            return Err(self.refuse(word));
        };
        if let Some(value) = joined {
            self.words = rest;
            return Ok(Some((option, value)));
        }
        let Some((value, rest)) = rest.split_first() else {
            return Err(self.refuse(word));
        };
        self.words = rest;
        Ok(Some((option, value)))
    }

    fn number(&self, value: &OsStr) -> Result<u32, Error> {
        let number = value.to_str().and_then(|value| value.parse().ok());
        number.ok_or_else(|| self.refuse(value))
    }

    fn refuse(&self, word: &OsStr) -> Error {
        Error::Option {
            option: word.to_string_lossy().into_owned(),
            verb: self.verb.to_owned(),
        }
    }
}

impl Complaint {
    /// Appends `message` to the runtime's log in its own form: containerd shows the `msg` of the last error there.
    pub fn write(&self, message: &str) {
        use std::io::Write as _;
        let Some(path) = &self.log else {
            return;
        };
        let time = humantime::format_rfc3339_seconds(std::time::SystemTime::now());
        let line = if self.json {
            let message = serde_json::Value::from(message);
            format!("{{\"level\":\"error\",\"msg\":{message},\"time\":\"{time}\"}}\n")
        } else {
            format!("time=\"{time}\" level=error msg={message:?}\n")
        };
        // Where it cannot be written, standard error and the exit code still tell.
        if let Ok(mut file) = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path)
        {
            file.write_all(line.as_bytes()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Act, String> {
        let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        Call::parse(&words, Path::new("/here"))
            .map(|call| call.act)
            .map_err(|(error, _)| error.to_string())
    }

    fn start_of(bundle: &str, id: &str) -> Result<Act, String> {
        Ok(Act::Start {
            bundle: bundle.into(),
            id: Some(id.to_owned()),
            descriptors: 0,
        })
    }

    #[test]
    fn the_bundle_is_found_as_engines_say_it() {
        let containerd = "--root /r --log /l --log-format json create --bundle /b --pid-file /b/p \
                          --console-socket /t/s c1";
        assert_eq!(read(containerd), start_of("/b", "c1"));
        assert_eq!(
            read("--systemd-cgroup --log-format=json create --bundle=/b c1"),
            start_of("/b", "c1")
        );
        assert_eq!(
            read("run -b rel --no-pivot c1"),
            start_of("/here/rel", "c1")
        );
        assert_eq!(read("run c1"), start_of("/here", "c1"));
        assert_eq!(
            read("exec --process /p --detach --pid-file /f c1"),
            Ok(Act::Exec {
                process: Some("/p".into()),
                id: Some("c1".to_owned()),
                command: None,
                descriptors: 0,
            })
        );
        assert_eq!(
            read("--root /r exec -e A=1 --preserve-fds 2 c1 sh -c x"),
            Ok(Act::Exec {
                process: None,
                id: Some("c1".to_owned()),
                command: Some(8),
                descriptors: 2,
            })
        );
    }

    #[test]
    fn what_starts_nothing_is_not_looked_at() {
        for line in [
            "state c1",
            "kill --all c1 9",
            "delete --force c1",
            "--version",
            "features",
            "",
        ] {
            assert_eq!(read(line), Ok(Act::Other), "{line}");
        }
    }

    #[test]
    fn an_option_that_runtimes_could_read_differently_is_refused() {
        for line in [
            "create -bundle /b c1",
            "create -b/b c1",
            "create -b=/b c1",
            "create --bun /b c1",
            "create c1 --bundle /b",
            "create --unknown /b c1",
            "--unknown x create c1",
            "run -db /b c1",
            "create --b /b c1",
            "exec --proc /p c1",
            "exec c1 -- sh",
            "run --preserve-fds many c1",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn restoring_is_refused() {
        assert!(
            read("restore --image-path /i c1")
                .unwrap_err()
                .contains("restore")
        );
    }

    #[test]
    fn a_checkpoint_ends_a_container_unless_it_is_to_go_on() {
        let read = |line: &str| match read(line) {
            Ok(Act::Checkpoint { id, goes_on }) => (id, goes_on),
            other => panic!("{other:?}"),
        };
        let id = || Some("c1".to_owned());
        assert_eq!(read("checkpoint --image-path /i c1"), (id(), false));
        assert_eq!(read("checkpoint --leave-running c1"), (id(), true));
        assert_eq!(
            read("checkpoint -pre-dump --image-path /i c1"),
            (id(), true)
        );
        assert_eq!(read("checkpoint --leave-running=false c1"), (id(), false));
        assert_eq!(read("checkpoint"), (None, false));
    }
}
