//! The shape of a profile file: what is written by `profile show` and `learn`, and described by the published JSON Schema.
//!
//! Reading goes by [`super::read`] instead, which knows the place of every key. A test keeps both in step.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::{capability, read};

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
    /// The network: none at all, unless the section is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkSection>,
    /// What the process may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessSection>,
    /// Bounds of resources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSection>,
    /// What may degrade where the kernel cannot enforce it: a protection, and `required` (the default), `best-effort`
    /// or `off`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    #[schemars(schema_with = "protection_schema")]
    pub protection: BTreeMap<String, String>,
}

/// Rules about files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub struct FilesSection {
    /// Whether what no rule allows is denied (`enforce`, the default), only reported (`audit`) or neither (`off`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<FilesMode>,
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

/// Whether the file section denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FilesMode {
    /// What no rule allows is denied.
    Enforce,
    /// What no rule allows is allowed and reported.
    Audit,
    /// Files are not restricted.
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

/// The network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkSection {
    /// `enforce` (the default): no network. `off`: the network is not restricted.
    pub mode: NetworkMode,
}

/// Whether there is a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// No network.
    Enforce,
    /// The network is not restricted.
    Off,
}

/// What the process may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub struct ProcessSection {
    /// Linux capabilities that are kept, as in `net_bind_service`; all others are dropped.
    #[schemars(schema_with = "capabilities_schema")]
    pub capabilities: Vec<String>,
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
    let demands = read::DEMANDS.map(crate::policy::Demand::name);
    let keys: serde_json::Map<_, _> = read::protection_keys()
        .into_iter()
        .map(|key| (key.to_owned(), serde_json::json!({ "enum": demands })))
        .collect();
    json_schema!({
        "type": "object",
        "properties": keys,
        "additionalProperties": false,
        "minProperties": 1,
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
