//! The shape of a profile file: what is written by `profile show` and `learn`, and described by the published JSON Schema.
//!
//! Reading goes by [`super::read`] instead, which knows the place of every key. A test keeps both in step.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::{capability, kernel, read, syscall};

/// A ringfence profile: what one program may do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Version of the profile language; always 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// What the profile is called in reports; the file's name if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the profile is for, in free words that reports print.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Profiles that this one adds to: names of shipped ones, or paths (with a slash) from this file's directory.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub extends: Vec<String>,
    /// Variables of the profile's own, for `${NAME}` in its rules. A value may use other variables and is literal.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub variables: BTreeMap<String, String>,
    /// Files: what may be read, written and executed. What no rule allows is denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSection>,
    /// The network: which peers are reached. What no rule allows is denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkSection>,
    /// What the process may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessSection>,
    /// Parts of the kernel that are opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelSection>,
    /// Bounds of resources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSection>,
    /// What may degrade where the kernel cannot enforce it: a protection, and `required` (the default) or `best-effort`;
    /// some are `off` where they are not wanted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    #[schemars(schema_with = "protection_schema")]
    pub protection: BTreeMap<String, String>,
    /// Programs with rights of their own.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub program: Vec<ProgramSection>,
}

/// Rights of one program, and of all that it starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramSection {
    /// The program's path pattern. What surrounds the section must allow to execute it.
    #[schemars(length(min = 1))]
    pub path: String,
    /// What it is for, in free words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Whether it has the rights of what surrounds it as well (the default). Deny rules around it hold in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inherit: Option<bool>,
    /// Profiles that the section adds to.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub extends: Vec<String>,
    /// Files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSection>,
    /// The network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkSection>,
    /// Parts of the kernel that are opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelSection>,
    /// Programs with rights of their own when this one starts them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub program: Vec<ProgramSection>,
}

/// Rules about files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub struct FilesSection {
    /// Whether what no rule allows is denied (`enforce`, the default), only reported (`audit`) or neither (`off`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<ModeWord>,
    /// Paths that may be read, and directories that may be listed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub read: Vec<RuleEntry>,
    /// Paths that may be written, created, removed and renamed. Does not imply `read`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub write: Vec<RuleEntry>,
    /// Paths that may be executed or mapped as code. Does not imply `read`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub exec: Vec<RuleEntry>,
    /// Paths that are denied whatever else allows them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub deny: Vec<RuleEntry>,
}

/// Whether a section denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModeWord {
    /// What no rule allows is denied.
    Enforce,
    /// What no rule allows is allowed and reported.
    Audit,
    /// The section restricts nothing.
    Off,
}

/// A path pattern, alone or with words about it.
///
/// `*` and `?` stop at `/`, `**` is any number of components, `[a-z]`, `{a,b}`, `${VARIABLE}`; a trailing `/` or `/**`
/// is the directory and everything below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RuleEntry {
    /// The pattern.
    Text(#[schemars(length(min = 1))] String),
    /// The pattern and words about it.
    Table(RuleTable),
}

/// A path pattern with words about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleTable {
    /// The pattern.
    #[schemars(length(min = 1))]
    pub path: String,
    /// Why, in free words that a denial prints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// A denial by this rule is no news: reports leave it out.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub expected: bool,
}

/// Rules about the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub struct NetworkSection {
    /// Whether what no rule allows is denied (`enforce`, the default), only reported (`audit`) or neither (`off`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<ModeWord>,
    /// Whether the name that a TLS client asks for is compared with the rules: `if-present` is the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<SniWord>,
    /// Peers that may be reached, as in `example.com:443`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub connect: Vec<NetworkEntry>,
    /// Addresses of one's own that may be bound, as in `127.0.0.1:8080`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub listen: Vec<NetworkEntry>,
    /// Unix sockets that may be reached: path patterns, and abstract names with a leading `@`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub unix: Vec<NetworkEntry>,
    /// Peers and Unix sockets that are denied whatever else allows them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub deny: Vec<NetworkEntry>,
}

/// Whether the name that a TLS client asks for has to be an allowed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SniWord {
    /// A connection to a name begins with a TLS greeting that says an allowed one.
    Required,
    /// A TLS greeting that says a name says an allowed one.
    IfPresent,
    /// It is not looked at.
    Off,
}

/// A peer or a socket, alone or with words about it.
///
/// `[tcp://|udp://|icmp://]HOST[:PORTS]`, where a host is a name, `*.name` (one label), `**.name` (any number of labels),
/// an IPv4 address or network, an IPv6 one in brackets, or `*`, and ports are `443`, `22,443`, `80-90` or `*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum NetworkEntry {
    /// The peer or socket.
    Text(#[schemars(length(min = 1))] String),
    /// The peer or socket and words about it.
    Table(NetworkTable),
}

/// A peer or a socket with words about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkTable {
    /// The peer or socket.
    #[schemars(length(min = 1))]
    pub address: String,
    /// Why, in free words that a denial prints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// A denial by this rule is no news: reports leave it out.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub expected: bool,
}

/// What the process may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("minProperties" = 1))]
pub struct ProcessSection {
    /// Linux capabilities that are kept, as in `net_bind_service`; all others are dropped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(schema_with = "capabilities_schema")]
    pub capabilities: Option<Vec<String>>,
    /// `"default"`, or the only system calls that there are: names, and groups as in `@system-service`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syscalls: Option<SyscallsEntry>,
    /// Whether set-user-id programs and file capabilities give their privileges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_privilege_gain: Option<bool>,
}

/// Which system calls there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum SyscallsEntry {
    /// All but those that a fence closes.
    Default(DefaultWord),
    /// Of those only these.
    Listed(#[schemars(schema_with = "syscalls_schema")] Vec<String>),
}

/// `"default"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DefaultWord {
    /// The default.
    Default,
}

/// Parts of the kernel that are opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub struct KernelSection {
    /// Their names; all others are closed.
    #[schemars(schema_with = "kernel_schema")]
    pub allow: Vec<String>,
}

/// Bounds of resources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("minProperties" = 1))]
pub struct LimitsSection {
    /// Bytes of memory, as in `"2GiB"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Amount>,
    /// Tasks at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub pids: Option<u64>,
    /// Wall time after which the run is ended, as in `"10m"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Processor share, as in `"150%"`, or cores as in `1.5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Amount>,
    /// Open files of each process.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub open_files: Option<u64>,
    /// Bytes of the largest file that may be written, as in `"100MiB"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size: Option<Amount>,
}

/// An amount with a unit, or a plain number.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Amount {
    /// With a unit.
    Text(String),
    /// A plain number.
    Number(f64),
}

/// The JSON Schema of profiles, for editors and for other tools that write profiles.
#[must_use]
pub fn schema() -> Schema {
    let mut schema = schemars::schema_for!(Document);
    schema.insert("title".to_owned(), "ringfence profile".into());
    schema
}

fn protection_schema(_: &mut SchemaGenerator) -> Schema {
    let keys: serde_json::Map<_, _> = read::protection_keys()
        .into_iter()
        .map(|key| {
            let mut words = read::DEMANDS.map(crate::policy::Demand::name).to_vec();
            if read::protection::MAY_BE_OFF
                .iter()
                .any(|(may, _)| *may == key)
            {
                words.push(read::protection::OFF);
            }
            (key.to_owned(), serde_json::json!({ "enum": words }))
        })
        .collect();
    json_schema!({
        "type": "object",
        "properties": keys,
        "additionalProperties": false,
        "minProperties": 1,
    })
}

fn kernel_schema(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<_> = kernel::names().collect();
    json_schema!({ "type": "array", "items": { "enum": names } })
}

/// A group by its name, or anything that looks like a call: the list of calls would make the schema five times as long.
fn syscalls_schema(_: &mut SchemaGenerator) -> Schema {
    let groups: Vec<_> = syscall::groups().collect();
    json_schema!({
        "type": "array",
        "minItems": 1,
        "items": { "anyOf": [{ "enum": groups }, { "type": "string", "pattern": "^[a-z0-9_]+$" }] },
    })
}

fn capabilities_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {
            "type": "string",
            "pattern": format!("^(?:[cC][aA][pP]_)?(?:{})$", capability_pattern()),
        },
    })
}

/// The names in any case: a JSON Schema pattern has no flag for that.
fn capability_pattern() -> String {
    let any_case = |name: &&str| -> String {
        name.chars()
            .map(|letter| {
                if letter.is_ascii_lowercase() {
                    format!("[{letter}{}]", letter.to_ascii_uppercase())
                } else {
                    letter.to_string()
                }
            })
            .collect()
    };
    let names: Vec<_> = capability::NAMES.iter().map(any_case).collect();
    names.join("|")
}
