//! Where the run takes place: working directory, user, private temporary directory, and the variables that say so.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::Failure;
use crate::{
    confine::{Caller, Temporary, User},
    profile::Variables,
};

/// The surroundings of one run.
#[derive(Debug)]
pub struct Place {
    /// Working directory, resolved.
    pub directory: PathBuf,
    /// Who the command runs as; the caller if `None`.
    pub user: Option<User>,
    /// The run's private temporary directory, removed in the end.
    pub temporary: Temporary,
    home: Option<PathBuf>,
    name: Option<String>,
    uid: u32,
}

impl Place {
    /// Finds out where and as whom the command would run, and makes its temporary directory.
    ///
    /// # Errors
    /// If the user is unknown, or the directories cannot be had.
    pub fn find(user: Option<&str>) -> Result<Self, Failure> {
        let directory = env::current_dir().map_err(|source| Failure::Unknown {
            what: "the working directory",
            source,
        })?;
        let user = match user {
            Some(text) => Some(User::parse(text)?),
            None => User::behind_sudo()?,
        };
        let (home, name, uid) = match &user {
            Some(user) => (user.home.clone(), user.name.clone(), user.uid),
            None => {
                let caller = Caller::find();
                let home = env::var_os("HOME")
                    .filter(|home| !home.is_empty())
                    .map(PathBuf::from)
                    .or(caller.home);
                (home, caller.name, caller.uid)
            }
        };
        Ok(Self {
            directory,
            temporary: Temporary::new(user.as_ref())?,
            user,
            home,
            name,
            uid,
        })
    }

    /// Where a running process is, and whose. What it keeps in a temporary directory is no run's own, so that this one's is another.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn of_process(pid: i32) -> Result<Self, Failure> {
        let unknown = |source| Failure::Unknown {
            what: "where the process is",
            source,
        };
        let own = Path::new("/proc").join(pid.to_string());
        let uid = fs::metadata(&own).map_err(unknown)?.uid();
        let user = User::parse(&uid.to_string())?;
        let environment = fs::read(own.join("environ")).map_err(unknown)?;
        let home = environment
            .split(|&byte| byte == 0)
            .find_map(|pair| pair.strip_prefix(b"HOME="))
            .map(|home| PathBuf::from(OsStr::from_bytes(home)));
        Ok(Self {
            directory: fs::read_link(own.join("cwd")).map_err(unknown)?,
            temporary: Temporary::new(None)?,
            home: home.or_else(|| user.home.clone()),
            name: user.name.clone(),
            uid,
            user: Some(user),
        })
    }

    /// The values of the variables that profiles may use.
    #[must_use]
    pub fn variables(&self) -> Variables {
        let mut variables = Variables::new()
            .with("CWD", &self.directory)
            .with("TMP", self.temporary.path())
            .with("UID", self.uid.to_string());
        if let Some(name) = &self.name {
            variables = variables.with("USER", name);
        }
        if let Some(home) = &self.home {
            let below = |variable, default| {
                self.configured(variable)
                    .unwrap_or_else(|| home.join(default))
            };
            variables = variables
                .with("HOME", home)
                .with("CACHE", below("XDG_CACHE_HOME", ".cache"))
                .with("CONFIG", below("XDG_CONFIG_HOME", ".config"));
        }
        variables
    }

    /// The command's environment: the caller's, with the private temporary directory. Another user's own variables are
    /// set by the launch.
    #[must_use]
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let temporary = ["TMPDIR", "TMP", "TEMP", "TEMPDIR"];
        let mut environment: Vec<_> = env::vars_os()
            .filter(|(name, _)| !temporary.iter().any(|one| name == one))
            .collect();
        environment.push(("TMPDIR".into(), self.temporary.path().into()));
        environment
    }

    /// A directory of the environment, if it is the command's own user's.
    fn configured(&self, variable: &str) -> Option<PathBuf> {
        let given = PathBuf::from(env::var_os(variable)?);
        (self.user.is_none() && given.is_absolute()).then_some(given)
    }
}
