//! One profile file to what it says. Every key is looked at: one that the language does not have is an error with its
//! place and the nearest right spelling.

mod files;
mod network;
mod process;
mod program;
pub(super) mod protection;
mod value;

use std::sync::Arc;

use super::error::Error;
use super::layer::{Extension, Layer, OwnVariable};
use super::quantity;
use super::source::{Place, Source};
use super::tree::{Content, Entry, Node};
use crate::policy::{Demand, Protection};
use value::{list, meaning, one_line, section, text, unknown};

/// The version of the language that this reads.
pub(super) const VERSION: i64 = 1;
/// Keys of a profile.
pub(super) const KEYS: [&str; 12] = [
    "version",
    "name",
    "because",
    "extends",
    "variables",
    "files",
    "network",
    "process",
    "kernel",
    "limits",
    "protection",
    "program",
];
/// Keys of `[files]`.
pub(super) const FILES_KEYS: [&str; 5] = ["mode", "read", "write", "exec", "deny"];
/// Keys of a rule that is a table.
pub(super) const RULE_KEYS: [&str; 3] = ["path", "because", "expected"];
/// Keys of `[network]`.
pub(super) const NETWORK_KEYS: [&str; 6] = ["mode", "sni", "connect", "listen", "unix", "deny"];
/// Keys of a rule about the network that is a table.
pub(super) const NETWORK_RULE_KEYS: [&str; 3] = ["address", "because", "expected"];
/// Keys of `[process]`.
pub(super) const PROCESS_KEYS: [&str; 3] = ["capabilities", "syscalls", "allow-privilege-gain"];
/// Keys of `[kernel]`.
pub(super) const KERNEL_KEYS: [&str; 1] = ["allow"];
/// Keys of `[[program]]`.
pub(super) const PROGRAM_KEYS: [&str; 8] = [
    "path", "because", "inherit", "extends", "files", "network", "kernel", "program",
];
/// Sections that hold for the whole run, and are in no `[[program]]`.
pub(super) const WHOLE_RUN: [&str; 3] = ["process", "limits", "protection"];
/// Keys of `[limits]`.
pub(super) const LIMITS_KEYS: [&str; 6] =
    ["memory", "pids", "time", "cpu", "open-files", "file-size"];
/// Words of `[protection]`, beside [`protection::OFF`] for some.
pub(super) const DEMANDS: [Demand; 2] = [Demand::Required, Demand::BestEffort];
/// Protections that `files` stands for.
const FILES_GROUP: [Protection; 3] = [
    Protection::FilesRead,
    Protection::FilesWrite,
    Protection::FilesMetadata,
];

/// Keys of `[protection]`: every protection, and the groups.
pub(super) fn protection_keys() -> Vec<&'static str> {
    let mut keys = vec!["all", "files"];
    keys.extend(Protection::ALL.map(Protection::name));
    keys
}

/// What the file `source` with these entries says; `fallback` names it if it does not name itself.
pub(super) fn layer(
    source: &Arc<Source>,
    entries: Vec<Entry>,
    fallback: &str,
) -> Result<Layer, Error> {
    let top = Place::new(source, 0..0);
    let name = entries
        .iter()
        .find(|entry| entry.key == "name")
        .map(|entry| one_line(&entry.node, "name"))
        .transpose()?
        .unwrap_or_else(|| fallback.to_owned());
    let mut layer = Layer::new(&name);
    let mut versioned = false;
    let mut protections = None;
    for entry in entries {
        let Entry { key, place, node } = entry;
        if let Some(known) = WHOLE_RUN.into_iter().find(|known| *known == key) {
            layer.whole_run.push((known, place.clone()));
        }
        match key.as_str() {
            "version" => {
                version(&node)?;
                versioned = true;
            }
            "name" => {}
            "because" => layer.because = Some(text(&node, "because")?),
            "extends" => layer.extends = extends(node)?,
            "variables" => layer.variables = variables(&place, node)?,
            "files" => files::files(&mut layer.sections, &layer.name, &place, node)?,
            "network" => network::network(&mut layer.sections, &layer.name, &place, node)?,
            "process" => layer.process = process::process(&place, node)?,
            "kernel" => {
                let openings = process::kernel(&layer.name, &place, node)?;
                layer.sections.kernel.extend(openings);
            }
            "limits" => limits(&mut layer, &place, node)?,
            "protection" => protections = Some((place, node)),
            "program" => layer.sections.programs = program::programs(&layer.name, node)?,
            _ => return Err(unknown(&key, &place, "a profile", &KEYS)),
        }
    }
    // Last, because what is off must not be on elsewhere.
    if let Some((place, node)) = protections {
        protection::protection(&mut layer, &place, node)?;
    }
    if !versioned {
        return Err(meaning(
            &top,
            "`version` is missing",
            "begin with `version = 1`",
        ));
    }
    if layer.says_nothing() {
        return Err(Error::Empty {
            file: top.file().to_owned(),
        });
    }
    Ok(layer)
}

fn version(node: &Node) -> Result<(), Error> {
    match node.value {
        Content::Integer(VERSION) => Ok(()),
        _ => Err(meaning(
            &node.place,
            "this version of the profile language is not known",
            "write `version = 1`, or use a newer ringfence",
        )),
    }
}

fn extends(node: Node) -> Result<Vec<Extension>, Error> {
    let items = list(
        node,
        "extends",
        "a list of names, as in `extends = [\"base\"]`",
    )?;
    items
        .into_iter()
        .map(|item| {
            Ok(Extension {
                reference: one_line(&item, "extends")?,
                place: item.place,
            })
        })
        .collect()
}

fn variables(place: &Place, node: Node) -> Result<Vec<OwnVariable>, Error> {
    section(place, node, "variables")?
        .into_iter()
        .map(|entry| {
            let right = !entry.key.is_empty()
                && entry
                    .key
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !right {
                return Err(meaning(
                    &entry.place,
                    "a variable's name has letters, digits and `_` only",
                    "rename it",
                ));
            }
            Ok(OwnVariable {
                value: text(&entry.node, &entry.key)?,
                name: entry.key,
                place: entry.node.place,
            })
        })
        .collect()
}

fn limits(layer: &mut Layer, place: &Place, node: Node) -> Result<(), Error> {
    for entry in section(place, node, "limits")? {
        let content = &entry.node.value;
        let limits = &mut layer.limits;
        let (limit, amount) = match entry.key.as_str() {
            "memory" => (&mut limits.memory, quantity::bytes(content)),
            "pids" => (&mut limits.pids, quantity::count(content)),
            "time" => (&mut limits.wall_seconds, quantity::seconds(content)),
            "cpu" => (&mut limits.cpu_percent, quantity::percent(content)),
            "open-files" => (&mut limits.open_files, quantity::count(content)),
            "file-size" => (&mut limits.file_size, quantity::bytes(content)),
            _ => return Err(unknown(&entry.key, &entry.place, "[limits]", &LIMITS_KEYS)),
        };
        let amount = amount.map_err(|help| {
            let message = format!("`{}` is no such amount", entry.key);
            meaning(&entry.node.place, &message, &help)
        })?;
        *limit = Some(amount);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::document;

    /// The keys that the schema knows at `pointer`, sorted.
    fn schema_keys(pointer: &str) -> Vec<String> {
        let schema = serde_json::to_value(document::schema()).unwrap();
        let object = schema.pointer(pointer).unwrap().as_object().unwrap();
        object.keys().cloned().collect()
    }

    fn sorted(keys: &[&str]) -> Vec<String> {
        let mut keys: Vec<_> = keys.iter().map(|&key| key.to_owned()).collect();
        keys.sort();
        keys
    }

    #[test]
    fn the_schema_has_the_keys_that_are_read() {
        assert_eq!(schema_keys("/properties"), sorted(&KEYS));
        for (definition, keys) in [
            ("FilesSection", &FILES_KEYS[..]),
            ("RuleTable", &RULE_KEYS),
            ("NetworkSection", &NETWORK_KEYS),
            ("NetworkTable", &NETWORK_RULE_KEYS),
            ("ProcessSection", &PROCESS_KEYS),
            ("KernelSection", &KERNEL_KEYS),
            ("ProgramSection", &PROGRAM_KEYS),
            ("LimitsSection", &LIMITS_KEYS),
        ] {
            let pointer = format!("/$defs/{definition}/properties");
            assert_eq!(schema_keys(&pointer), sorted(keys), "{definition}");
        }
        let protections = schema_keys("/properties/protection/properties");
        assert_eq!(protections, sorted(&protection_keys()));
    }
}
