//! System calls that are closed, in a form that every builder of filters can take.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// One system call that a fence closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedCall {
    /// The kernel's name.
    pub name: &'static str,
    /// The caller is told this.
    pub errno: i32,
    /// The argument, from 0, that decides, and what it must be; closed whatever the arguments if `None`.
    pub when: Option<(u32, Argument)>,
}

impl ClosedCall {
    /// The rules that close `calls` in a filter of the OCI runtime specification (config-linux.md, "seccomp"): one for all that are
    /// closed whatever their arguments and answered alike, since a runtime reads and compiles them for each container.
    #[must_use]
    pub fn rules<'a>(calls: impl IntoIterator<Item = &'a Self>) -> Vec<Value> {
        let mut whole: BTreeMap<i32, Vec<&str>> = BTreeMap::new();
        let mut some = Vec::new();
        for call in calls {
            match call.when {
                None => whole.entry(call.errno).or_default().push(call.name),
                Some((index, argument)) => some.push(call.rule_when(index, argument)),
            }
        }
        let whole = whole.into_iter().map(|(errno, names)| {
            json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno })
        });
        whole.chain(some).collect()
    }

    fn rule_when(&self, index: u32, argument: Argument) -> Value {
        let condition = match argument {
            Argument::Masked { mask, value } => json!(
                { "index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ" }
            ),
            Argument::AllBut(value) => json!(
                { "index": index, "value": value, "op": "SCMP_CMP_NE" }
            ),
        };
        json!({
            "names": [self.name],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": self.errno,
            "args": [condition],
        })
    }

    /// The kernel's own architecture and the 32-bit one beside it; calls of any other end the process.
    #[must_use]
    pub fn architectures() -> &'static [&'static str] {
        if cfg!(target_arch = "x86_64") {
            &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
        } else if cfg!(target_arch = "aarch64") {
            &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
        } else {
            &[]
        }
    }
}

/// Which values of an argument are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Those of which these bits are this.
    Masked {
        /// Bits that are looked at.
        mask: u64,
        /// What they are.
        value: u64,
    },
    /// All but this one.
    AllBut(u64),
}
