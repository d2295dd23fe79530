//! System calls that are closed, in a form that every builder of filters can take.

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
    /// The rule that closes it in a filter of the OCI runtime specification (config-linux.md, "seccomp").
    #[must_use]
    pub fn rule(&self) -> Value {
        let mut rule = json!({
            "names": [self.name],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": self.errno,
        });
        if let Some((index, argument)) = self.when {
            rule["args"] = match argument {
                Argument::Masked { mask, value } => json!([
                    { "index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ" }
                ]),
                Argument::AllBut(value) => json!([
                    { "index": index, "value": value, "op": "SCMP_CMP_NE" }
                ]),
            };
        }
        rule
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
