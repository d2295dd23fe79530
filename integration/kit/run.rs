//! Runs of the program under test, and claims about how they ended that show everything when they fail.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libtest_mimic::Failed;

/// Somebody who owns nothing and is in no group: `nobody` on most systems.
const ORDINARY_USER: &str = "65534";

/// The program that is tested: `RINGFENCE_BIN`, or the one that cargo has just built.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("RINGFENCE_BIN").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_ringfence")),
        PathBuf::from,
    )
}

/// One run to be.
#[derive(Debug)]
pub(crate) struct Ringfence {
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    ordinary: bool,
}

impl Ringfence {
    /// `ringfence ARGUMENTS...`
    pub(crate) fn with<Word: Into<OsString>>(arguments: impl IntoIterator<Item = Word>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self {
            arguments,
            variables: Vec::new(),
            folder: None,
            ordinary: false,
        }
    }

    /// More arguments.
    pub(crate) fn and<Word: Into<OsString>>(
        mut self,
        arguments: impl IntoIterator<Item = Word>,
    ) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Started in this folder.
    pub(crate) fn in_folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// With this variable.
    pub(crate) fn variable(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// By somebody without any privilege. Needs root.
    pub(crate) fn by_ordinary_user(mut self) -> Self {
        self.ordinary = true;
        self
    }

    /// The command, for a test that must feed or signal it.
    pub(crate) fn command(&self) -> Command {
        let mut command = if self.ordinary {
            let mut command = Command::new("setpriv");
            command
                .args([
                    "--reuid",
                    ORDINARY_USER,
                    "--regid",
                    ORDINARY_USER,
                    "--clear-groups",
                    "--",
                ])
                .arg(binary());
            command
        } else {
            Command::new(binary())
        };
        command
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs to the end.
    pub(crate) fn run(&self) -> Result<Finished, Failed> {
        let mut command = self.command();
        let output = command
            .output()
            .map_err(|error| format!("could not start {command:?}: {error}"))?;
        Ok(Finished {
            shown: format!("{command:?}"),
            output,
        })
    }
}

/// One run that ended.
#[derive(Debug)]
pub(crate) struct Finished {
    shown: String,
    output: Output,
}

impl Finished {
    /// Standard output as text.
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// Standard error as text.
    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// The exit code is 0.
    pub(crate) fn succeeds(&self) -> Result<&Self, Failed> {
        self.exits_with(0)
    }

    /// The exit code is this one.
    pub(crate) fn exits_with(&self, code: i32) -> Result<&Self, Failed> {
        self.claim(
            self.output.status.code() == Some(code),
            &format!("exit code {code}"),
        )
    }

    /// The exit code is any but 0.
    pub(crate) fn fails(&self) -> Result<&Self, Failed> {
        self.claim(!self.output.status.success(), "a failure")
    }

    /// Standard output holds this.
    pub(crate) fn says(&self, text: &str) -> Result<&Self, Failed> {
        self.claim(
            self.out().contains(text),
            &format!("{text:?} on standard output"),
        )
    }

    /// Standard output does not hold this.
    pub(crate) fn does_not_say(&self, text: &str) -> Result<&Self, Failed> {
        self.claim(
            !self.out().contains(text),
            &format!("no {text:?} on standard output"),
        )
    }

    /// Standard error holds this.
    pub(crate) fn complains(&self, text: &str) -> Result<&Self, Failed> {
        self.claim(
            self.err().contains(text),
            &format!("{text:?} on standard error"),
        )
    }

    /// Any claim, shown with the whole run when it is not true.
    pub(crate) fn claim(&self, holds: bool, expected: &str) -> Result<&Self, Failed> {
        if holds {
            return Ok(self);
        }
        let Self { shown, output } = self;
        Err(format!(
            "expected {expected}\ncommand: {shown}\nended:   {}\n--- standard output\n{}--- standard error\n{}---",
            output.status,
            self.out(),
            self.err()
        )
        .into())
    }
}
