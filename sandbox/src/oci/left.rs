//! What a fence leaves to a container's processes: the first one, and each that `exec` adds.

use nix::sys::resource::{Resource, getrlimit};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bundle::member;
use crate::policy::Limits;

/// What a process is left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Capabilities: in lower case without `cap_`.
    pub capabilities: Vec<String>,
    /// Whether exec may give privileges.
    pub privilege_gain: bool,
    /// Open files.
    #[serde(default)]
    pub open_files: Option<u64>,
    /// Bytes of a file that it writes.
    #[serde(default)]
    pub file_size: Option<u64>,
}

impl Left {
    /// By these capabilities and limits.
    #[must_use]
    pub fn by(capabilities: &[String], privilege_gain: bool, limits: &Limits) -> Self {
        Self {
            capabilities: capabilities.to_vec(),
            privilege_gain,
            open_files: limits.open_files,
            file_size: limits.file_size,
        }
    }

    /// Takes the rest from the description of a process.
    pub(super) fn take_from(&self, process: &mut Value) {
        if let Some(Value::Object(sets)) = process.get_mut("capabilities") {
            for set in sets.values_mut() {
                if let Value::Array(names) = set {
                    names.retain(|name| self.stays(name));
                }
            }
        }
        if !self.privilege_gain
            && let Value::Object(process) = process
        {
            process.insert("noNewPrivileges".to_owned(), true.into());
        }
        for (kind, resource, limit) in [
            ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE, self.open_files),
            ("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE, self.file_size),
        ] {
            if let Some(limit) = limit {
                limit_resource(process, kind, limit.min(most(resource)));
            }
        }
    }

    fn stays(&self, name: &Value) -> bool {
        let Some(name) = name.as_str() else {
            return false;
        };
        let name = name.to_ascii_lowercase();
        let name = name.strip_prefix("cap_").unwrap_or(&name);
        self.capabilities.iter().any(|kept| kept == name)
    }
}

/// What a runtime that we become can set at most: raising takes a privilege that root may not have.
fn most(resource: Resource) -> u64 {
    getrlimit(resource).map_or(u64::MAX, |(_, hard)| hard)
}

fn limit_resource(process: &mut Value, kind: &str, limit: u64) {
    let Value::Array(list) = member(process, "rlimits", json!([])) else {
        return;
    };
    let mut found = false;
    for one in list.iter_mut().filter(|one| one["type"] == kind) {
        found = true;
        for part in ["soft", "hard"] {
            let now = one[part].as_u64().unwrap_or(u64::MAX);
            one[part] = now.min(limit).into();
        }
    }
    if !found {
        list.push(json!({ "type": kind, "soft": limit, "hard": limit }));
    }
}

/// Whether the description of a process limits this resource to `limit` at most.
pub(super) fn is_limited(process: &Value, kind: &str, limit: u64) -> bool {
    let list = process["rlimits"].as_array();
    let mut all = list.into_iter().flatten();
    all.any(|one| one["type"] == kind && one["hard"].as_u64().is_some_and(|hard| hard <= limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_lowered_and_never_raised() {
        let left = Left {
            open_files: Some(100),
            file_size: Some(5),
            ..Left::default()
        };
        let mut process = json!({ "rlimits": [
            { "type": "RLIMIT_NOFILE", "soft": 50, "hard": 200 },
            { "type": "RLIMIT_FSIZE", "soft": 4, "hard": 4 } ] });
        left.take_from(&mut process);
        assert_eq!(
            process["rlimits"],
            json!([{ "type": "RLIMIT_NOFILE", "soft": 50, "hard": 100 },
                   { "type": "RLIMIT_FSIZE", "soft": 4, "hard": 4 }])
        );
        assert!(is_limited(&process, "RLIMIT_NOFILE", 100));
        assert!(!is_limited(&process, "RLIMIT_NOFILE", 99));
        assert!(!is_limited(&json!({}), "RLIMIT_NOFILE", 100));
    }

    #[test]
    fn one_that_is_not_there_is_set() {
        let left = Left {
            open_files: Some(7),
            ..Left::default()
        };
        let mut process = json!({});
        left.take_from(&mut process);
        assert!(is_limited(&process, "RLIMIT_NOFILE", 7));
    }
}
