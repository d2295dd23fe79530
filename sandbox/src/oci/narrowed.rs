//! What a fence has narrowed in a bundle or in the description of a process, kept in the same file: a later start begins with what was
//! there before, whether it has another profile or is recorded without a fence.
//!
//! It is a member that runtimes ignore (config.md, "Extensibility") and that no engine takes from those who start containers, as
//! annotations are. What somebody has changed since then stays as they have changed it. That is told by a digest: a filter of system
//! calls is long, and a runtime reads all of the file.

use serde_json::{Value, json};

use super::{bundle::member, digest::sha256};

/// Where it is kept.
const MEMBER: &str = "ringfence";
/// What a fence narrows in a bundle.
pub(super) const OF_BUNDLE: &[&str] = &[
    "/process/capabilities",
    "/process/noNewPrivileges",
    "/process/rlimits",
    "/linux/resources",
    "/linux/seccomp",
];
/// What it narrows in the description of a process.
pub(super) const OF_PROCESS: &[&str] = &["/capabilities", "/noNewPrivileges", "/rlimits"];

/// Does `change`, and keeps what it has changed of `members`.
pub(super) fn change(value: &mut Value, members: &[&str], change: impl FnOnce(&mut Value)) {
    let before: Vec<_> = members.iter().map(|at| at_pointer(value, at)).collect();
    change(value);
    let changed = members.iter().zip(before).filter_map(|(at, before)| {
        let after = at_pointer(value, at);
        (before != after)
            .then(|| json!({ "member": at, "before": before, "after": fingerprint(&after) }))
    });
    let changed: Vec<Value> = changed.collect();
    if !changed.is_empty() {
        member(value, MEMBER, json!({}))["narrowed"] = changed.into();
    }
}

/// Undoes it, where nobody else has changed `members` since.
pub(super) fn restore(value: &mut Value, members: &[&str]) {
    let Some(kept) = value.as_object_mut().and_then(|all| all.remove(MEMBER)) else {
        return;
    };
    let narrowed = kept["narrowed"].as_array();
    for one in narrowed.into_iter().flatten() {
        let Some(at) = members.iter().find(|at| one["member"] == **at) else {
            continue;
        };
        if one["after"] == fingerprint(&at_pointer(value, at)) {
            put(value, at, &one["before"]);
        }
    }
}

/// The same for values that are equal: members of objects are written in the order of their names.
fn fingerprint(value: &Value) -> String {
    sha256(value.to_string().as_bytes())
}

/// What is not there is null.
fn at_pointer(value: &Value, at: &str) -> Value {
    value.pointer(at).cloned().unwrap_or_default()
}

fn put(value: &mut Value, at: &str, before: &Value) {
    let Some((above, name)) = at.rsplit_once('/') else {
        return;
    };
    let Some(Value::Object(above)) = value.pointer_mut(above) else {
        return;
    };
    if before.is_null() {
        above.remove(name);
    } else {
        above.insert(name.to_owned(), before.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed(mut value: Value) -> Value {
        change(&mut value, OF_PROCESS, |process| {
            process["capabilities"] = json!([]);
            process["noNewPrivileges"] = json!(true);
        });
        value
    }

    #[test]
    fn what_was_narrowed_comes_back() {
        let whole = json!({ "capabilities": ["CAP_KILL"], "args": ["sh"], "vendor": 1 });
        let mut value = narrowed(whole.clone());
        assert_eq!(value["capabilities"], json!([]));
        restore(&mut value, OF_PROCESS);
        assert_eq!(value, whole);
        restore(&mut value, OF_PROCESS);
        assert_eq!(value, whole);
    }

    #[test]
    fn what_somebody_else_has_changed_since_then_stays() {
        let mut value = narrowed(json!({ "capabilities": ["CAP_KILL"] }));
        value["capabilities"] = json!(["CAP_CHOWN"]);
        restore(&mut value, OF_PROCESS);
        assert_eq!(value, json!({ "capabilities": ["CAP_CHOWN"] }));
    }

    #[test]
    fn nothing_is_kept_of_what_has_not_changed() {
        let same = json!({ "capabilities": [], "noNewPrivileges": true });
        assert_eq!(narrowed(same.clone()), same);
    }

    #[test]
    fn no_other_member_is_put_back() {
        let after = fingerprint(&json!(["x"]));
        let other = json!({ "member": "/args", "before": ["sh"], "after": after });
        let mut value = json!({ "args": ["x"], "ringfence": { "narrowed": [other] } });
        restore(&mut value, OF_PROCESS);
        assert_eq!(value, json!({ "args": ["x"] }));
    }
}
