//! The values of `${NAME}` in rules. The caller fills them: nothing in here reads the environment.
//!
//! A value is literal. A `*` in a home directory's name, or a byte that is not UTF-8, stands for itself.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Values by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Variables {
    values: BTreeMap<String, Vec<u8>>,
}

impl Variables {
    /// The names that the caller is expected to set, with what they mean.
    pub const KNOWN: [(&'static str, &'static str); 7] = [
        ("CWD", "the working directory of the run"),
        ("HOME", "the user's home directory"),
        ("TMP", "the run's private temporary directory"),
        ("USER", "the user's name"),
        ("UID", "the user's number"),
        ("CACHE", "XDG_CACHE_HOME, or ${HOME}/.cache"),
        ("CONFIG", "XDG_CONFIG_HOME, or ${HOME}/.config"),
    ];

    /// No values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with `name` set to `value`, which is taken literally.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.set(name, value.as_ref().as_bytes());
        self
    }

    /// Sets `name` to `value`, which is taken literally.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.values.insert(name.to_owned(), value.to_vec());
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.values.get(name).map(Vec::as_slice)
    }

    /// The names that are set, for messages.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<_> = self
            .values
            .keys()
            .map(|name| format!("${{{name}}}"))
            .collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    }

    /// The name that is set and nearest to `name`, if one is near.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<&str> {
        super::nearest(name, self.values.keys().map(String::as_str))
    }
}
