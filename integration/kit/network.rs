//! A network of a test's own, with a name server, a web server and an `/etc/resolv.conf` that nobody outside of it sees.

use std::fs;
use std::process::{Command, Output, Stdio};

use libtest_mimic::Failed;

use super::{Folder, PYTHON, Verdict, binary};

/// A network of the test's own.
pub(crate) struct Network {
    pub(crate) folder: Folder,
    /// What is set up there besides, in the language of the shell.
    pub(crate) besides: &'static str,
}

/// What became of one run.
pub(crate) struct Ended {
    shown: String,
    pub(crate) output: Output,
}

impl Network {
    pub(crate) fn new() -> Result<Self, Failed> {
        let folder = Folder::new()?;
        folder.file("outside.py", include_str!("network.py"))?;
        folder.file(
            "resolv.conf",
            "nameserver 127.0.0.53\noptions timeout:10 attempts:2\n",
        )?;
        folder.file("hosts", "127.0.0.1 localhost\n10.0.0.82 hosted.test\n")?;
        Ok(Self {
            folder,
            besides: "",
        })
    }

    /// Lets it speak TLS as well.
    pub(crate) fn certify(&self) -> Verdict {
        let mut make = Command::new("openssl");
        make.args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split(' '),
        )
        .args("-subj /CN=web.test -keyout key.pem -out cert.pem".split(' '))
        .current_dir(self.folder.path());
        let made = make.output()?;
        match made.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&made.stderr).into_owned().into()),
        }
    }

    /// Runs `command` there, behind a fence if it has `options`.
    pub(crate) fn run(&self, options: Option<&[&str]>, command: &[&str]) -> Result<Ended, Failed> {
        let here = self.folder.path().display().to_string();
        let script = format!(
            "set -e; cd {here}; ip link set lo up\n\
             for address in 93.184.215.80 93.184.215.81 10.0.0.82 169.254.169.254; do ip address add $address/32 dev lo; done\n\
             mount --bind resolv.conf /etc/resolv.conf; mount --bind hosts /etc/hosts\n\
             {}\n\
             rm -rf out; mkdir out; {PYTHON} -I outside.py out >log 2>&1 & server=$!\n\
             trap 'kill $server' EXIT\n\
             tries=0; until [ -e out/ready ] || [ $tries = 900 ]; do sleep 0.1; tries=$((tries + 1)); done\n\
             set +e; \"$@\"",
            self.besides
        );
        let mut start = Command::new("unshare");
        start.args(["--net", "--mount", "--", "sh", "-c", &script, "sh"]);
        if let Some(options) = options {
            start.arg(binary()).arg("run").args(options).arg("--");
        }
        start
            .args(command)
            .stdin(Stdio::null())
            .env("XDG_STATE_HOME", self.folder.at("state"));
        let shown = format!("{options:?} {command:?}");
        let output = start.output()?;
        Ok(Ended { shown, output })
    }

    /// Behind a fence that stands under the default profile with these `options`.
    pub(crate) fn fenced(&self, options: &[&str], command: &[&str]) -> Result<Ended, Failed> {
        self.run(Some(options), command)
    }

    /// Without a fence it works, or the test shows nothing.
    pub(crate) fn unfenced(&self, command: &[&str]) -> Verdict {
        self.run(None, command)?.claim(true, &[])
    }

    /// The names that somebody asked the real server for.
    pub(crate) fn asked(&self) -> Result<String, Failed> {
        Ok(fs::read_to_string(self.folder.at("out/asked"))?)
    }
}

impl Ended {
    /// It succeeded, or not, and said all of `said` on one of its outputs.
    pub(crate) fn claim(&self, succeeded: bool, said: &[&str]) -> Verdict {
        let out = String::from_utf8_lossy(&self.output.stdout);
        let err = String::from_utf8_lossy(&self.output.stderr);
        let missing: Vec<_> = said
            .iter()
            .filter(|text| !out.contains(**text) && !err.contains(**text))
            .collect();
        if self.output.status.success() == succeeded && missing.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{}: {}, without {missing:?}\n--- standard output\n{out}--- standard error\n{err}---",
            self.shown, self.output.status
        )
        .into())
    }

    /// It said nothing like this on standard error.
    pub(crate) fn leaves_unsaid(&self, text: &str) -> Verdict {
        let err = String::from_utf8_lossy(&self.output.stderr);
        match err.contains(text) {
            false => Ok(()),
            true => Err(format!("{}: said {text:?}\n{err}", self.shown).into()),
        }
    }
}
