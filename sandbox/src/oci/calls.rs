//! The filter of system calls in a bundle: what a fence closes is taken out of what the engine leaves open, or stands alone
//! where the engine has no filter.

use serde_json::{Value, json};

use super::bundle::member;
use crate::policy::ClosedCall;

/// Actions that do not let a call happen (config-linux.md, "seccomp").
const REFUSING: [&str; 5] = [
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_TRAP",
];

/// Closes `calls` in the filter of the configuration.
pub(super) fn close(configuration: &mut Value, calls: &[ClosedCall]) {
    let filter = member(
        member(configuration, "linux", json!({})),
        "seccomp",
        Value::Null,
    );
    if filter.is_null() {
        *filter = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ClosedCall::architectures() });
    }
    let open_by_default = is_open_by_default(filter);
    let list = member(filter, "syscalls", json!([]));
    let Value::Array(rules) = list else { return };
    let closed: Vec<&str> = calls
        .iter()
        .filter(|call| call.when.is_none())
        .map(|call| call.name)
        .collect();
    for rule in rules.iter_mut().filter(|rule| !refuses(rule)) {
        if let Some(Value::Array(names)) = rule.get_mut("names") {
            names.retain(|name| name.as_str().is_none_or(|name| !closed.contains(&name)));
        }
    }
    rules.retain(|rule| names(rule).next().is_some());
    if open_by_default {
        // A call that the engine has a rule for already keeps it: of two rules for one call the libraries take one.
        let known: Vec<String> = rules.iter().flat_map(names).map(str::to_owned).collect();
        let own = calls
            .iter()
            .filter(|call| !known.iter().any(|known| known == call.name));
        rules.extend(ClosedCall::rules(own));
    }
}

/// Opens `names` in a filter that closes what it does not list; those that a rule is about already keep it.
pub(super) fn open(configuration: &mut Value, names: &[&str]) {
    let Some(filter) = configuration.pointer_mut("/linux/seccomp") else {
        return;
    };
    if filter.is_null() || is_open_by_default(filter) {
        return;
    }
    let Value::Array(rules) = member(filter, "syscalls", json!([])) else {
        return;
    };
    let known: Vec<String> = rules
        .iter()
        .flat_map(self::names)
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !known.iter().any(|known| known == *name))
        .collect();
    if !missing.is_empty() {
        rules.push(json!({ "names": missing, "action": "SCMP_ACT_ALLOW" }));
    }
}

/// The first of `calls` that the configuration's filter lets through whatever its arguments.
pub(super) fn first_open(configuration: &Value, calls: &[ClosedCall]) -> Option<&'static str> {
    let filter = &configuration["linux"]["seccomp"];
    let none = Vec::new();
    let rules = filter["syscalls"].as_array().unwrap_or(&none);
    let is_open = |name: &str| {
        let mut about = rules
            .iter()
            .filter(|rule| names(rule).any(|one| one == name))
            .peekable();
        match about.peek() {
            None => filter.is_null() || is_open_by_default(filter),
            Some(_) => about.any(|rule| !refuses(rule)),
        }
    };
    let whole = calls.iter().filter(|call| call.when.is_none());
    whole.map(|call| call.name).find(|name| is_open(name))
}

fn is_open_by_default(filter: &Value) -> bool {
    filter["defaultAction"]
        .as_str()
        .is_none_or(|action| !REFUSING.contains(&action))
}

fn refuses(rule: &Value) -> bool {
    rule["action"]
        .as_str()
        .is_some_and(|action| REFUSING.contains(&action))
}

fn names(rule: &Value) -> impl Iterator<Item = &str> {
    let names = rule["names"].as_array();
    names.into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Argument;

    const MOUNT: ClosedCall = ClosedCall {
        name: "mount",
        errno: 1,
        when: None,
    };
    const CLONE: ClosedCall = ClosedCall {
        name: "clone",
        errno: 1,
        when: Some((0, Argument::Masked { mask: 2, value: 2 })),
    };

    #[test]
    fn without_a_filter_ours_stands_alone() {
        let mut configuration = json!({ "linux": {} });
        assert_eq!(first_open(&configuration, &[MOUNT]), Some("mount"));
        close(&mut configuration, &[MOUNT, CLONE]);
        assert_eq!(first_open(&configuration, &[MOUNT]), None);
        let rules = &configuration["linux"]["seccomp"]["syscalls"];
        assert_eq!(rules[0]["names"], json!(["mount"]));
        assert_eq!(rules[1]["args"][0]["value"], 2);
    }

    #[test]
    fn calls_that_are_answered_alike_share_a_rule() {
        let whole = |name, errno| ClosedCall {
            name,
            errno,
            when: None,
        };
        let mut configuration = json!({});
        let calls = [MOUNT, CLONE, whole("stime", 1), whole("uselib", 38)];
        close(&mut configuration, &calls);
        let rules = configuration["linux"]["seccomp"]["syscalls"]
            .as_array()
            .unwrap();
        let told: Vec<_> = rules
            .iter()
            .map(|rule| (&rule["names"], &rule["errnoRet"]))
            .collect();
        let told = serde_json::to_value(told).unwrap();
        let expected = json!([[["mount", "stime"], 1], [["uselib"], 38], [["clone"], 1]]);
        assert_eq!(told, expected);
    }

    #[test]
    fn of_an_engines_filter_less_is_left() {
        let engine = json!({ "linux": { "seccomp": { "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            { "names": ["read", "mount"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["mount"], "action": "SCMP_ACT_ALLOW", "args": [] },
        ] } } });
        let mut configuration = engine;
        assert_eq!(first_open(&configuration, &[MOUNT]), Some("mount"));
        close(&mut configuration, &[MOUNT, CLONE]);
        assert_eq!(first_open(&configuration, &[MOUNT]), None);
        let rules = configuration["linux"]["seccomp"]["syscalls"]
            .as_array()
            .unwrap();
        assert_eq!(rules.len(), 1);
        assert_eq!(rules[0]["names"], json!(["read"]));
    }
}
