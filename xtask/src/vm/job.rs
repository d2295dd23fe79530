//! What a machine is to do: a command, where, with which variables, and which hidden folders it needs to see.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::tool::quoted;

/// One command for one machine.
pub(crate) struct Job {
    folder: PathBuf,
    command: Vec<OsString>,
    variables: Vec<OsString>,
    binds: Vec<PathBuf>,
}

impl Job {
    /// In the folder that this process is in, with its PATH and HOME.
    pub(crate) fn here(command: Vec<OsString>) -> Result<Self> {
        let folder = std::env::current_dir().context("the folder that this runs in is gone")?;
        let variables = ["PATH", "HOME"].into_iter().filter_map(|name| {
            let mut variable = OsString::from(name);
            variable.push("=");
            variable.push(std::env::var_os(name)?);
            Some(variable)
        });
        Ok(Self {
            folder,
            command,
            variables: variables.collect(),
            binds: Vec::new(),
        })
    }

    /// In another folder.
    pub(crate) fn in_folder(mut self, folder: &Path) -> Self {
        folder.clone_into(&mut self.folder);
        self
    }

    /// More variables, each `NAME=VALUE`.
    pub(crate) fn with_variables(mut self, variables: impl IntoIterator<Item = OsString>) -> Self {
        self.variables.extend(variables);
        self
    }

    /// More folders that the machine's own /tmp and /run would hide.
    pub(crate) fn with_binds(mut self, binds: impl IntoIterator<Item = PathBuf>) -> Result<Self> {
        for bind in binds {
            let bind = bind
                .canonicalize()
                .with_context(|| format!("cannot bind {}", bind.display()))?;
            if !bind.is_dir() {
                bail!("cannot bind {}: not a folder", bind.display());
            }
            self.binds.push(bind);
        }
        Ok(self)
    }

    /// The command as a shell script. It travels as a file, so that every byte of every argument survives.
    pub(crate) fn script(&self) -> Vec<u8> {
        let mut script = b"cd ".to_vec();
        script.extend(quoted(self.folder.as_os_str()));
        script.extend_from_slice(b" || exit 125\nexec /usr/bin/env -i TERM=dumb");
        for word in self.variables.iter().chain(&self.command) {
            script.push(b' ');
            script.extend(quoted(word));
        }
        script.push(b'\n');
        script
    }

    /// The folders to bind, one shell line each.
    pub(crate) fn bind_script(&self) -> Vec<u8> {
        let hidden = self
            .binds
            .iter()
            .map(PathBuf::as_path)
            .chain(self.hidden_folder());
        let mut script = Vec::new();
        for folder in hidden {
            script.extend_from_slice(b"bind ");
            script.extend(quoted(folder.as_os_str()));
            script.push(b'\n');
        }
        script
    }

    /// A caller below /tmp wants to be there in the machine as well.
    fn hidden_folder(&self) -> Option<&Path> {
        let below = |top: &str| {
            self.folder.starts_with(top) && self.folder.as_os_str().as_bytes() != top.as_bytes()
        };
        let bound = self.binds.iter().any(|bind| self.folder.starts_with(bind));
        (!bound && (below("/tmp") || below("/run"))).then_some(self.folder.as_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(folder: &str) -> Job {
        Job {
            folder: folder.into(),
            command: vec!["echo".into(), "it's".into()],
            variables: vec![],
            binds: vec![],
        }
    }

    #[test]
    fn a_caller_below_tmp_is_bound() {
        assert_eq!(job("/tmp/a b").bind_script(), b"bind '/tmp/a b'\n");
        assert!(job("/home/a").bind_script().is_empty());
        assert!(job("/tmp").bind_script().is_empty());
    }

    #[test]
    fn arguments_keep_their_quotes() {
        let script = String::from_utf8(job("/").script()).unwrap();
        assert!(script.ends_with("'echo' 'it'\\''s'\n"), "{script}");
    }
}
