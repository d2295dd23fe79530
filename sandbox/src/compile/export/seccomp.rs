//! A filter of system calls in the words of the OCI runtime specification, which container engines share.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Source;
use crate::policy::{ClosedCall, Syscalls};

/// `EPERM`.
const NOT_PERMITTED: i32 = 1;

/// The filter, and what it cannot say.
pub(super) fn filter(source: &Source<'_>) -> (Value, Vec<String>) {
    let architectures = ClosedCall::architectures();
    let Syscalls::Listed(listed) = &source.policy.syscalls else {
        let filter = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": architectures,
            "syscalls": ClosedCall::rules(source.closed),
        });
        return (filter, Vec::new());
    };
    let whole = |call: &&ClosedCall| call.when.is_none();
    let closed: BTreeSet<&str> = source
        .closed
        .iter()
        .filter(whole)
        .map(|call| call.name)
        .collect();
    let open: BTreeSet<&str> = source
        .always
        .iter()
        .chain(listed)
        .copied()
        .filter(|name| !closed.contains(name))
        .collect();
    // Of two rules about one call the library takes one: where it is listed, it is open whatever its arguments.
    let lost: BTreeSet<String> = source
        .closed
        .iter()
        .filter(|call| call.when.is_some() && open.contains(call.name))
        .map(|call| {
            format!(
                "that {} is closed for some arguments: a list of open calls cannot say it",
                call.name
            )
        })
        .collect();
    let filter = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": NOT_PERMITTED,
        "architectures": architectures,
        "syscalls": [{ "names": open, "action": "SCMP_ACT_ALLOW" }],
    });
    (filter, lost.into_iter().collect())
}
