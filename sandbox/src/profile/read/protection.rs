//! `[protection]`: what may degrade, and what is not wanted.

use std::cmp::Reverse;

use super::super::error::Error;
use super::super::kernel::Opening;
use super::super::layer::Layer;
use super::super::rule::Origin;
use super::super::source::Place;
use super::super::tree::{Content, Node};
use super::value::{meaning, section, unknown, word};
use super::{DEMANDS, FILES_GROUP, protection_keys};
use crate::policy::{Demand, Mode, Protection};
use ringfence_abi::surface::{PTRACE, SCHEDULER, SIGNALS};

/// The word for a protection that is not wanted.
pub(in super::super) const OFF: &str = "off";
/// Keys that may be off, each with the key that says the same.
pub(in super::super) const MAY_BE_OFF: [(&str, &str); 4] = [
    ("files", "`mode = \"off\"` in [files]"),
    ("network", "`mode = \"off\"` in [network]"),
    (
        "privilege-gain",
        "`allow-privilege-gain = true` in [process]",
    ),
    (
        "processes",
        "`allow = [\"ptrace\", \"signals\", \"scheduler\"]` in [kernel]",
    ),
];

/// Adds what the section says to `layer`, whose other sections are read already.
pub(super) fn protection(layer: &mut Layer, place: &Place, node: Node) -> Result<(), Error> {
    let entries = section(place, node, "protection")?;
    let mut demands = Vec::new();
    for entry in entries {
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
        if matches!(&entry.node.value, Content::Text(text) if text == OFF) {
            turn_off(layer, &entry.key, &entry.node.place)?;
            continue;
        }
        let demand = word(&entry.node, &entry.key, &DEMANDS, Demand::name)?;
        demands.push((named, demand));
    }
    // What names fewer decides, wherever it stands: `all`, then `files`, then single ones.
    demands.sort_by_key(|(named, _)| Reverse(named.len()));
    for (named, demand) in demands {
        for protection in named {
            layer.demands.insert(*protection, demand);
        }
    }
    Ok(())
}

/// What is not wanted is not applied: the same as the key that opens it.
fn turn_off(layer: &mut Layer, key: &str, place: &Place) -> Result<(), Error> {
    let Some((_, same)) = MAY_BE_OFF.into_iter().find(|(known, _)| *known == key) else {
        return Err(meaning(
            place,
            &format!("`{key}` cannot be off"),
            way_out(key),
        ));
    };
    let sections = &mut layer.sections;
    let agrees = match key {
        "files" => *sections.files_mode.get_or_insert(Mode::Off) == Mode::Off,
        "network" => *sections.network_mode.get_or_insert(Mode::Off) == Mode::Off,
        "privilege-gain" => *layer.process.privilege_gain.get_or_insert(true),
        _ => {
            let origin = Origin::Profile {
                profile: layer.name.clone(),
                place: place.clone(),
            };
            let surfaces = ringfence_abi::surface::ALL.iter();
            let opened = PTRACE.union(SIGNALS).union(SCHEDULER);
            sections
                .kernel
                .extend(
                    surfaces
                        .filter(|known| opened.contains(known.bit))
                        .map(|surface| Opening {
                            surface,
                            origin: origin.clone(),
                        }),
                );
            true
        }
    };
    if agrees {
        return Ok(());
    }
    Err(meaning(
        place,
        &format!("`{key}` is off here, and on where the profile speaks of it"),
        &format!("write {same}, or leave this out"),
    ))
}

/// What to write instead of an `off` that would mean nothing clear.
fn way_out(key: &str) -> &'static str {
    match key {
        "all" => "a fence without a protection is none; name what is not wanted",
        "files-read" => "allow `/**` under files.read, or write `files = \"off\"`",
        "files-write" | "files-metadata" => {
            "allow `/**` under files.write, or write `files = \"off\"`"
        }
        "exec" => "allow `/**` under files.exec, or write `files = \"off\"`",
        "capabilities" => "list those that are kept in [process] capabilities",
        "syscalls" => "open what is wanted by its name in [kernel] allow",
        _ => "leave the limits out",
    }
}
