//! containerd's own file. It has no folder of drop-ins that adds to a table of runtimes: an imported file replaces the whole
//! of it (services/server/config/config.go of 1.6, `mergeConfig`). So a table is added to the file that is there, and nothing else in it moves.

use std::path::Path;

use toml_edit::{Array, DocumentMut, Item, RawString, Table, value};

use super::RUNTIME;
use crate::oci::{ANNOTATION, Error};

/// The plugin that starts containers for Kubernetes, by the version of the file.
const PLUGINS: [(i64, &str); 2] = [
    (2, "io.containerd.grpc.v1.cri"),
    (3, "io.containerd.cri.v1.runtime"),
];
/// Above the table of the default runtime, where it is ours.
const MARK: &str =
    "\n# The default, which the table below would take away. Written by `ringfence oci install`.\n";
/// The shim that runc and what stands for it are called by.
const SHIM: &str = "io.containerd.runc.v2";

/// The file with the runtime in it.
pub(super) fn with(text: &str, link: &str, path: &Path) -> Result<String, Error> {
    let mut document = parse(text, path)?;
    let plugin = match document.get("version").map(Item::as_integer) {
        // Nothing said at all: a file of ours.
        None if document.is_empty() => {
            document.insert("version", value(2));
            PLUGINS[0].1
        }
        Some(Some(version)) => plugin_of(version, path)?,
        _ => return Err(old(path)),
    };
    let runtimes = table(
        document.as_table_mut(),
        &["plugins", plugin, "containerd", "runtimes"],
        path,
    )?;
    // A table of runtimes takes the place of the built-in one, which has runc in it; containerd does not start without
    // the runtime that is its default.
    if runtimes.is_empty() {
        let mut runc = Table::new();
        runc.insert("runtime_type", value(SHIM));
        runc.decor_mut().set_prefix(MARK);
        runtimes.insert("runc", Item::Table(runc));
    }
    let annotations: Array = [format!("{}.*", ANNOTATION.trim_end_matches(".profile"))]
        .into_iter()
        .collect();
    let mut options = Table::new();
    options.insert("BinaryName", value(link));
    let mut ours = Table::new();
    ours.insert("runtime_type", value(SHIM));
    ours.insert("pod_annotations", value(annotations.clone()));
    ours.insert("container_annotations", value(annotations));
    ours.insert("options", Item::Table(options));
    let wanted = Item::Table(ours);
    let is_there = runtimes
        .get(RUNTIME)
        .is_some_and(|there| there.to_string() == wanted.to_string());
    if !is_there {
        runtimes.insert(RUNTIME, wanted);
    }
    Ok(document.to_string())
}

/// The file without the runtime; `None` if it was ours alone.
pub(super) fn without(text: &str, path: &Path) -> Result<Option<String>, Error> {
    let mut document = parse(text, path)?;
    for (_, plugin) in PLUGINS {
        if let Some(runtimes) = found(document.as_table_mut(), plugin) {
            runtimes.remove(RUNTIME);
            if runtimes.get("runc").is_some_and(is_ours) {
                runtimes.remove("runc");
            }
        }
    }
    let bare = document.to_string();
    Ok((bare.trim() != "version = 2").then_some(bare))
}

fn is_ours(table: &Item) -> bool {
    let prefix = table.as_table().and_then(|table| table.decor().prefix());
    prefix.and_then(RawString::as_str) == Some(MARK)
}

/// Whether the file has the runtime in it.
pub(super) fn has(text: &str) -> bool {
    text.parse::<DocumentMut>().is_ok_and(|mut document| {
        let table = document.as_table_mut();
        PLUGINS.iter().any(|(_, plugin)| {
            found(table, plugin).is_some_and(|runtimes| runtimes.contains_key(RUNTIME))
        })
    })
}

fn parse(text: &str, path: &Path) -> Result<DocumentMut, Error> {
    text.parse().map_err(|error| Error::content(path, &error))
}

fn plugin_of(version: i64, path: &Path) -> Result<&'static str, Error> {
    let found = PLUGINS.iter().find(|(known, _)| *known == version);
    found.map(|(_, plugin)| *plugin).ok_or_else(|| old(path))
}

fn old(path: &Path) -> Error {
    let reason = "its `version` is neither 2 nor 3; `containerd config migrate` gives one that is";
    Error::content(path, &reason)
}

/// The table at `keys`; made where it is not there.
fn table<'a>(mut at: &'a mut Table, keys: &[&str], path: &Path) -> Result<&'a mut Table, Error> {
    for key in keys {
        let mut made = Table::new();
        made.set_implicit(true);
        at = at
            .entry(key)
            .or_insert(Item::Table(made))
            .as_table_mut()
            .ok_or_else(|| Error::content(path, &format!("`{key}` is not a table")))?;
    }
    Ok(at)
}

/// The table of runtimes of a plugin, if it is there.
fn found<'a>(document: &'a mut Table, plugin: &str) -> Option<&'a mut Table> {
    let mut at = document;
    for key in ["plugins", plugin, "containerd", "runtimes"] {
        at = at.get_mut(key)?.as_table_mut()?;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "/usr/local/bin/ringfence-runc";

    fn path() -> &'static Path {
        Path::new("config.toml")
    }

    #[test]
    fn what_is_there_stays_as_it_was_written() {
        let text = "version = 2 # ours\n\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.other]\n  \
                    runtime_type = \"x\"\n";
        let with = with(text, LINK, path()).unwrap();
        assert!(with.starts_with(text), "{with}");
        assert!(!with.contains("runtimes.runc]"), "{with}");
        assert!(has(&with));
        assert_eq!(without(&with, path()).unwrap().as_deref(), Some(text));
    }

    #[test]
    fn the_default_runtime_goes_with_ours_where_both_came_together() {
        let text = "version = 2\n\n[plugins.x]\ny = 1\n";
        let with = with(text, LINK, path()).unwrap();
        assert!(with.contains("runtimes.runc]"), "{with}");
        assert_eq!(without(&with, path()).unwrap().as_deref(), Some(text));
    }

    #[test]
    fn a_file_of_our_own_keeps_the_default_runtime() {
        let with = with("", LINK, path()).unwrap();
        assert!(with.contains("containerd.runtimes.runc]"), "{with}");
        assert_eq!(without(&with, path()).unwrap(), None);
    }

    #[test]
    fn the_third_version_calls_the_plugin_otherwise() {
        let with = with("version = 3\n", LINK, path()).unwrap();
        assert!(with.contains("io.containerd.cri.v1.runtime"), "{with}");
        assert!(has(&with));
    }

    #[test]
    fn the_first_version_is_refused_with_the_way_out() {
        for text in ["version = 1\n", "root = \"/x\"\n"] {
            let error = with(text, LINK, path()).unwrap_err().to_string();
            assert!(error.contains("migrate"), "{error}");
        }
    }
}
