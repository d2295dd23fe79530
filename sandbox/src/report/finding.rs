//! What a check found: one thing that a run did and the profile does not allow.

use serde::Serialize;

/// All that one check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// The profile that was checked against.
    pub profile: String,
    /// The command.
    pub command: String,
    /// The command's own exit code.
    pub exit: u8,
    /// How many kinds of acts were looked at.
    pub acts: usize,
    /// What is new.
    pub new: Vec<Finding>,
    /// Why the recording is not whole, if it is not.
    pub lost: Vec<String>,
}

/// One new thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule that would have to be there: `read`, `write`, `exec`, `network`, `capability`, `kernel`, `syscall`.
    pub kind: String,
    /// What was done: the name of an operation.
    pub what: String,
    /// On which path, or which capability, part of the kernel or system call.
    pub subject: String,
    /// By which programs.
    pub programs: Vec<String>,
    /// How often.
    pub count: u64,
    /// Why the profile does not allow it.
    pub reason: String,
    /// What kind of secret lies there, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// A line for the profile that would allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<String>,
    /// Whether the profile has been changed, and allows it now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub taken_in: bool,
}

impl Finding {
    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        let by = if self.programs.is_empty() {
            String::new()
        } else {
            format!(" by {}", self.programs.join(", "))
        };
        let secret = self
            .secret
            .as_ref()
            .map(|secret| format!(" [{secret}]"))
            .unwrap_or_default();
        printable(&format!(
            "{} {}{secret}{by}: {}",
            self.what, self.subject, self.reason
        ))
    }
}

/// Without control characters, which may steer a terminal or end a line.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let plain = !character.is_control();
            let escaped = character.escape_default().filter(move |_| !plain);
            plain.then_some(character).into_iter().chain(escaped)
        })
        .collect()
}
