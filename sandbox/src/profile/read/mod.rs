//! One profile file to what it says. Every key is looked at: one that the language does not have is an error with its
//! place and the nearest right spelling.

use std::sync::Arc;

use super::capability;
use super::error::Error;
use super::layer::{Extension, Layer, OwnVariable};
use super::quantity;
use super::rule::{Right, Rule, shortened};
use super::source::{Fault, Place, Source};
use super::tree::{Content, Entry, Node};
use crate::policy::{Demand, Mode, NetworkPolicy, Protection};

/// The version of the language that this reads.
pub(super) const VERSION: i64 = 1;
/// Keys of a profile.
pub(super) const KEYS: [&str; 10] = [
    "version",
    "name",
    "because",
    "extends",
    "variables",
    "files",
    "network",
    "process",
    "limits",
    "protection",
];
/// Keys of `[files]`.
pub(super) const FILES_KEYS: [&str; 5] = ["mode", "read", "write", "exec", "deny"];
/// Keys of a rule that is a table.
pub(super) const RULE_KEYS: [&str; 3] = ["path", "because", "expected"];
/// Keys of `[network]`.
pub(super) const NETWORK_KEYS: [&str; 1] = ["mode"];
/// Keys of `[process]`.
pub(super) const PROCESS_KEYS: [&str; 1] = ["capabilities"];
/// Keys of `[limits]`.
pub(super) const LIMITS_KEYS: [&str; 6] =
    ["memory", "pids", "time", "cpu", "open-files", "file-size"];
/// Words of `[protection]`.
pub(super) const DEMANDS: [Demand; 3] = [Demand::Required, Demand::BestEffort, Demand::Off];
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
    for entry in entries {
        let Entry { key, place, node } = entry;
        match key.as_str() {
            "version" => {
                version(&node)?;
                versioned = true;
            }
            "name" => {}
            "because" => layer.because = Some(text(&node, "because")?),
            "extends" => layer.extends = extends(node)?,
            "variables" => layer.variables = variables(&place, node)?,
            "files" => files(&mut layer, &place, node)?,
            "network" => layer.network = Some(network(&place, node)?),
            "process" => layer.capabilities = process(&place, node)?,
            "limits" => limits(&mut layer, &place, node)?,
            "protection" => protection(&mut layer, &place, node)?,
            _ => return Err(unknown(&key, &place, "a profile", &KEYS)),
        }
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

fn files(layer: &mut Layer, place: &Place, node: Node) -> Result<(), Error> {
    for entry in section(place, node, "files")? {
        if entry.key == "mode" {
            let modes = [Mode::Enforce, Mode::Audit, Mode::Off];
            layer.files_mode = Some(word(&entry.node, "mode", &modes, Mode::name)?);
            continue;
        }
        let right = Right::ALL
            .into_iter()
            .find(|right| right.name() == entry.key);
        let Some(right) = right else {
            return Err(unknown(&entry.key, &entry.place, "[files]", &FILES_KEYS));
        };
        let expected = "a list of rules, as in `[\"/usr/**\"]`";
        for item in list(entry.node, right.name(), expected)? {
            let rule = rule(layer, right, item)?;
            layer.rules.push(rule);
        }
    }
    Ok(())
}

fn rule(layer: &Layer, right: Right, node: Node) -> Result<Rule, Error> {
    let Node { place, value } = node;
    let entries = match value {
        Content::Text(path) => return Rule::in_profile(right, &path, &layer.name, &place),
        Content::Table(entries) => entries,
        other => {
            return Err(meaning(
                &place,
                &format!("a rule is {}", other.kind()),
                "write a string, or a table as in `{ path = \"/x\", because = \"...\" }`",
            ));
        }
    };
    let mut path = None;
    let mut because = None;
    let mut expected = false;
    for entry in entries {
        match entry.key.as_str() {
            "path" => path = Some((text(&entry.node, "path")?, entry.node.place)),
            "because" => because = Some(text(&entry.node, "because")?),
            "expected" => match entry.node.value {
                Content::Truth(truth) => expected = truth,
                other => {
                    return Err(wrong_kind(
                        &entry.node.place,
                        "expected",
                        &other,
                        "true or false",
                    ));
                }
            },
            _ => return Err(unknown(&entry.key, &entry.place, "a rule", &RULE_KEYS)),
        }
    }
    let Some((path, place)) = path else {
        return Err(meaning(
            &place,
            "the rule has no `path`",
            "add `path = \"/...\"`",
        ));
    };
    let mut rule = Rule::in_profile(right, &path, &layer.name, &place)?;
    rule.because = because;
    rule.expected = expected;
    Ok(rule)
}

fn network(place: &Place, node: Node) -> Result<NetworkPolicy, Error> {
    let mut network = None;
    for entry in section(place, node, "network")? {
        match entry.key.as_str() {
            "mode" => {
                if matches!(&entry.node.value, Content::Text(text) if text == "audit") {
                    return Err(meaning(
                        &entry.node.place,
                        "the network cannot be audited by this version",
                        "write `mode = \"enforce\"` for no network, or `mode = \"off\"`",
                    ));
                }
                let modes = [NetworkPolicy::None, NetworkPolicy::Open];
                network = Some(word(&entry.node, "mode", &modes, |mode| match mode {
                    NetworkPolicy::None => "enforce",
                    NetworkPolicy::Open => "off",
                })?);
            }
            "connect" | "listen" | "unix" => {
                return Err(meaning(
                    &entry.place,
                    &format!(
                        "`{}`: network names are not enforced by this version",
                        entry.key
                    ),
                    "write `mode = \"enforce\"` for no network, or `mode = \"off\"`",
                ));
            }
            _ => {
                return Err(unknown(
                    &entry.key,
                    &entry.place,
                    "[network]",
                    &NETWORK_KEYS,
                ));
            }
        }
    }
    // A section without a mode does not come here: it is empty, or has an unknown key.
    Ok(network.unwrap_or(NetworkPolicy::None))
}

fn process(place: &Place, node: Node) -> Result<Option<Vec<&'static str>>, Error> {
    let mut kept = None;
    for entry in section(place, node, "process")? {
        if entry.key != "capabilities" {
            return Err(unknown(
                &entry.key,
                &entry.place,
                "[process]",
                &PROCESS_KEYS,
            ));
        }
        let expected = "a list of names, as in `[\"net_bind_service\"]`";
        let mut names = Vec::new();
        for item in list(entry.node, "capabilities", expected)? {
            let name = one_line(&item, "capabilities")?;
            names.push(capability::named(&name).map_err(|near| {
                let message = format!("no capability is called `{}`", shortened(&name));
                let fault = Fault::new(&item.place, message);
                Error::Meaning(match near {
                    Some(near) => fault.help(format!("did you mean `{near}`?")),
                    None => fault.help("see capabilities(7) for the names"),
                })
            })?);
        }
        kept = Some(names);
    }
    Ok(kept)
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

fn protection(layer: &mut Layer, place: &Place, node: Node) -> Result<(), Error> {
    let entries = section(place, node, "protection")?;
    let mut demands = Vec::new();
    for entry in entries {
        let demand = word(&entry.node, &entry.key, &DEMANDS, Demand::name)?;
        let named: &[Protection] = match entry.key.as_str() {
            "all" => &Protection::ALL,
            "files" => &FILES_GROUP,
            key => match Protection::ALL.iter().find(|known| known.name() == key) {
                Some(protection) => std::slice::from_ref(protection),
                None => {
                    return Err(unknown(
                        key,
                        &entry.place,
                        "[protection]",
                        &protection_keys(),
                    ));
                }
            },
        };
        demands.push((named, demand));
    }
    // What names fewer decides, wherever it stands: `all`, then `files`, then single ones.
    demands.sort_by_key(|(named, _)| std::cmp::Reverse(named.len()));
    for (named, demand) in demands {
        for protection in named {
            layer.demands.insert(*protection, demand);
        }
    }
    Ok(())
}

/// The entries of a section, which must have some.
fn section(place: &Place, node: Node, name: &str) -> Result<Vec<Entry>, Error> {
    match node.value {
        Content::Table(entries) if entries.is_empty() => Err(meaning(
            place,
            &format!("section [{name}] is empty"),
            "write a key into it, or remove it",
        )),
        Content::Table(entries) => Ok(entries),
        other => Err(wrong_kind(
            &node.place,
            name,
            &other,
            &format!("a section: [{name}]"),
        )),
    }
}

fn list(node: Node, key: &str, expected: &str) -> Result<Vec<Node>, Error> {
    match node.value {
        Content::List(items) => Ok(items),
        other => Err(wrong_kind(&node.place, key, &other, expected)),
    }
}

fn text(node: &Node, key: &str) -> Result<String, Error> {
    match &node.value {
        Content::Text(text) => Ok(text.clone()),
        other => Err(wrong_kind(&node.place, key, other, "a string")),
    }
}

/// A string that is a name: not empty, and without control characters, since reports print it.
fn one_line(node: &Node, key: &str) -> Result<String, Error> {
    let text = text(node, key)?;
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(meaning(
            &node.place,
            &format!("`{key}` is empty or has control characters"),
            "write a plain name",
        ));
    }
    Ok(text)
}

/// The one of `words` that a string names.
fn word<T: Copy>(
    node: &Node,
    key: &str,
    words: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<T, Error> {
    let known: Vec<_> = words
        .iter()
        .map(|&word| format!("\"{}\"", name(word)))
        .collect();
    let expected = known.join(" or ");
    let Content::Text(text) = &node.value else {
        return Err(wrong_kind(&node.place, key, &node.value, &expected));
    };
    words
        .iter()
        .copied()
        .find(|&word| name(word) == text)
        .ok_or_else(|| {
            let message = format!("`{key}` is \"{}\"", shortened(text));
            meaning(&node.place, &message, &format!("write {expected}"))
        })
}

fn wrong_kind(place: &Place, key: &str, content: &Content, expected: &str) -> Error {
    let message = format!("`{key}` is {}", content.kind());
    meaning(place, &message, &format!("write {expected}"))
}

fn unknown(key: &str, place: &Place, section: &str, known: &[&str]) -> Error {
    let message = format!("unknown key `{}` in {section}", shortened(key));
    let help = match super::nearest(key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known: {}", known.join(", ")),
    };
    meaning(place, &message, &help)
}

fn meaning(place: &Place, message: &str, help: &str) -> Error {
    Error::Meaning(Fault::new(place, message).help(help))
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
            ("ProcessSection", &PROCESS_KEYS),
            ("LimitsSection", &LIMITS_KEYS),
        ] {
            let pointer = format!("/$defs/{definition}/properties");
            assert_eq!(schema_keys(&pointer), sorted(keys), "{definition}");
        }
        let protections = schema_keys("/properties/protection/properties");
        assert_eq!(protections, sorted(&protection_keys()));
    }
}
