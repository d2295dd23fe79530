//! Who the command runs as: the caller, the one behind sudo, or whoever root names.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User as Entry, getgrouplist};

use super::error::Error;

/// A user to run a command as, with everything that is asked of the user database already looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Login name, if the database has one.
    pub name: Option<String>,
    /// Home directory, if the database has one.
    pub home: Option<std::path::PathBuf>,
}

/// Who calls, and what the user database says of that: nothing of one that it does not know, or where it cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Login name.
    pub name: Option<String>,
    /// Home directory.
    pub home: Option<std::path::PathBuf>,
}

impl Caller {
    /// Asks.
    #[must_use]
    pub fn find() -> Self {
        let uid = nix::unistd::geteuid();
        let entry = Entry::from_uid(uid).ok().flatten();
        Self {
            uid: uid.as_raw(),
            name: entry.as_ref().map(|entry| entry.name.clone()),
            home: entry.map(|entry| entry.dir),
        }
    }
}

impl User {
    /// The user that `text` names: a name, `uid`, `uid:gid`, or `name:group`.
    ///
    /// # Errors
    /// If there is none, or the caller is not root and it is somebody else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let unknown = || Error::UnknownUser {
            name: text.to_owned(),
        };
        let entry = match user.parse::<u32>() {
            Ok(uid) => Entry::from_uid(Uid::from_raw(uid)),
            Err(_) => Entry::from_name(user),
        }
        .map_err(|errno| database(text, errno))?;
        let uid = match (&entry, user.parse::<u32>()) {
            (Some(entry), _) => entry.uid.as_raw(),
            (None, Ok(uid)) => uid,
            (None, Err(_)) => return Err(unknown()),
        };
        let gid = match group {
            Some(group) => Some(parse_group(group)?.ok_or_else(unknown)?),
            None => None,
        };
        Self::build(uid, gid, entry)?.permitted()
    }

    /// Who a command runs as when nobody is named: under sudo the one who called sudo, else nobody else (`None`).
    ///
    /// # Errors
    /// If the user database cannot be read.
    pub fn behind_sudo() -> Result<Option<Self>, Error> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(None);
        }
        let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
        match (number("SUDO_UID"), number("SUDO_GID")) {
            // Root behind sudo is root; minus one means "no change" to setresuid(2).
            (Some(uid), Some(gid)) if uid != 0 && uid != u32::MAX && gid != u32::MAX => {
                let entry = Entry::from_uid(Uid::from_raw(uid))
                    .map_err(|errno| database(&uid.to_string(), errno))?;
                Ok(Some(Self::build(uid, Some(gid), entry)?))
            }
            _ => Ok(None),
        }
    }

    /// The variables that a login as this user would set.
    pub(super) fn variables(&self) -> Vec<(&'static str, std::ffi::OsString)> {
        let mut variables = Vec::new();
        if let Some(home) = &self.home {
            variables.push(("HOME", home.clone().into_os_string()));
        }
        if let Some(name) = &self.name {
            variables.push(("USER", name.into()));
            variables.push(("LOGNAME", name.into()));
        }
        variables
    }

    fn build(uid: u32, gid: Option<u32>, entry: Option<Entry>) -> Result<Self, Error> {
        if uid == u32::MAX || gid == Some(u32::MAX) {
            return Err(Error::UnknownUser {
                name: uid.to_string(),
            });
        }
        let Some(entry) = entry else {
            // A bare number: no groups but its own, which is the number again unless one was given.
            let gid = gid.unwrap_or(uid);
            return Ok(Self {
                uid,
                gid,
                groups: vec![gid],
                name: None,
                home: None,
            });
        };
        let gid = gid.unwrap_or_else(|| entry.gid.as_raw());
        let login = CString::new(entry.name.clone()).map_err(|_| Error::UnknownUser {
            name: entry.name.clone(),
        })?;
        let groups = getgrouplist(&login, Gid::from_raw(gid))
            .map_err(|errno| database(&entry.name, errno))?;
        Ok(Self {
            uid,
            gid,
            groups: groups.into_iter().map(Gid::as_raw).collect(),
            name: Some(entry.name),
            home: Some(entry.dir),
        })
    }

    fn permitted(self) -> Result<Self, Error> {
        let own = nix::unistd::geteuid();
        let own_group = nix::unistd::getegid();
        let same = self.uid == own.as_raw() && self.gid == own_group.as_raw();
        if own.is_root() || same {
            Ok(self)
        } else {
            Err(Error::ForeignUser {
                uid: self.uid,
                own: own.as_raw(),
            })
        }
    }
}

fn parse_group(text: &str) -> Result<Option<u32>, Error> {
    if let Ok(gid) = text.parse::<u32>() {
        return Ok(Some(gid));
    }
    let group = Group::from_name(text).map_err(|errno| database(text, errno))?;
    Ok(group.map(|group| group.gid.as_raw()))
}

fn database(name: &str, errno: nix::errno::Errno) -> Error {
    Error::UserDatabase {
        name: name.to_owned(),
        source: errno.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_by_number() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        assert_eq!(User::parse("root").unwrap().uid, 0);
        assert_eq!(User::parse("0").unwrap().name.as_deref(), Some("root"));
        let bare = User::parse("424242:7").unwrap();
        assert_eq!((bare.uid, bare.gid, bare.groups), (424_242, 7, vec![7]));
    }

    #[test]
    fn the_caller_is_found() {
        let caller = Caller::find();
        assert_eq!(caller.uid, nix::unistd::geteuid().as_raw());
        if caller.uid == 0 {
            assert_eq!(caller.name.as_deref(), Some("root"));
        }
    }

    #[test]
    fn a_user_that_does_not_exist_is_an_error() {
        let error = User::parse("no-such-user-here").unwrap_err();
        assert!(matches!(error, Error::UnknownUser { .. }), "{error}");
    }
}
