//! What stands before a command: nothing, ringfence, and what else people use.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

/// This program as a contestant: Landlock and nothing else, see [`landlock`].
pub(crate) const LANDLOCK: &str = "--landlock";

/// One way to put something before a command.
pub(crate) struct Contestant {
    /// Its name in the results.
    pub(crate) name: &'static str,
    prefix: Vec<OsString>,
}

impl Contestant {
    /// All that are installed, native first. `arguments` are ringfence's, `write` is what the others let be written.
    ///
    /// With `BEFORE=PATH`, another build of ringfence is among them: one with the same programs in the kernel, else each takes out
    /// the other's.
    pub(crate) fn all(arguments: &[OsString], write: &Path) -> Vec<Self> {
        let ringfence = |program: OsString| {
            let mut words = vec![program, "run".into()];
            words.extend_from_slice(arguments);
            words.push("--".into());
            words
        };
        let words = |text: &str| text.split_whitespace().map(OsString::from).collect();
        let own = env::current_exe().expect("the path of this program");
        let program = env::var_os("RINGFENCE").unwrap_or(env!("CARGO_BIN_EXE_ringfence").into());
        let mut all = vec![
            ("native", Vec::new()),
            ("ringfence", ringfence(program)),
            ("landlock", vec![own.into(), LANDLOCK.into(), write.into()]),
            (
                "bubblewrap",
                words(&format!(
                    "bwrap --ro-bind / / --dev-bind /dev /dev --bind {0} {0} --unshare-ipc",
                    write.display()
                )),
            ),
            ("firejail", words("firejail --quiet --noprofile")),
            ("strace", words("strace -f -o /dev/null")),
        ];
        if let Some(before) = env::var_os("BEFORE") {
            all.insert(1, ("before", ringfence(before)));
        }
        let here = |prefix: &[OsString]| prefix.first().is_none_or(is_installed);
        all.into_iter()
            .filter(|(_, prefix)| here(prefix))
            .map(|(name, prefix)| Self { name, prefix })
            .collect()
    }

    /// The command behind what stands before it.
    pub(crate) fn command(&self, words: &[OsString]) -> Command {
        let all: Vec<_> = self.prefix.iter().chain(words).collect();
        let mut command = Command::new(all[0]);
        command.args(&all[1..]).stdin(Stdio::null());
        command
    }
}

fn is_installed(program: &OsString) -> bool {
    let program = Path::new(program);
    let path = env::var_os("PATH").unwrap_or_default();
    program.is_absolute() || env::split_paths(&path).any(|place| place.join(program).exists())
}

/// Becomes `words[1..]` behind Landlock: everything may be read and executed, the directory `words[0]` and devices written.
pub(crate) fn landlock(words: &[OsString]) -> String {
    use landlock::{
        ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    };
    use std::os::unix::process::CommandExt as _;
    let version = ABI::V4;
    let restricted = || -> Result<(), Box<dyn std::error::Error>> {
        let all = AccessFs::from_all(version);
        let mut ruleset = Ruleset::default().handle_access(all)?.create()?;
        let read = AccessFs::from_read(version);
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new("/")?, read))?;
        for place in [Path::new("/dev"), Path::new(&words[0])] {
            ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(place)?, all))?;
        }
        ruleset.restrict_self()?;
        Ok(())
    };
    if let Err(error) = restricted() {
        return error.to_string();
    }
    Command::new(&words[1]).args(&words[2..]).exec().to_string()
}
