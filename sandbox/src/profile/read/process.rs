//! `[process]` and `[kernel]`: what the process may be, and what of the kernel it may touch.

use std::sync::Arc;

use super::super::error::Error;
use super::super::kernel::{self, Opening};
use super::super::layer::{Process, SyscallChoice};
use super::super::rule::{Origin, shortened};
use super::super::source::{Fault, Place};
use super::super::tree::{Content, Node};
use super::super::{capability, syscall};
use super::value::{list, meaning, one_line, section, truth, unknown};
use super::{KERNEL_KEYS, PROCESS_KEYS};

/// What `[process]` says.
pub(super) fn process(place: &Place, node: Node) -> Result<Process, Error> {
    let mut process = Process::default();
    for entry in section(place, node, "process")? {
        match entry.key.as_str() {
            "capabilities" => process.capabilities = Some(capabilities(entry.node)?),
            "syscalls" => process.syscalls = Some(syscalls(entry.node)?),
            "allow-privilege-gain" => {
                process.privilege_gain = Some(truth(&entry.node, "allow-privilege-gain")?);
            }
            _ => {
                return Err(unknown(
                    &entry.key,
                    &entry.place,
                    "[process]",
                    &PROCESS_KEYS,
                ));
            }
        }
    }
    Ok(process)
}

fn capabilities(node: Node) -> Result<Vec<&'static str>, Error> {
    let expected = "a list of names, as in `[\"net_bind_service\"]`";
    named(node, "capabilities", expected, |name| {
        capability::named(name).map_err(|near| Unknown {
            what: "capability",
            near,
            known: "see capabilities(7) for the names",
        })
    })
}

fn syscalls(node: Node) -> Result<SyscallChoice, Error> {
    if let Content::Text(text) = &node.value {
        return if text == "default" {
            Ok(SyscallChoice::Default)
        } else {
            Err(meaning(
                &node.place,
                &format!("`syscalls` is \"{}\"", shortened(text)),
                "write \"default\", or a list of names and groups, as in `[\"@system-service\"]`",
            ))
        };
    }
    let place = node.place.clone();
    let expected = "\"default\", or a list of names and groups, as in `[\"@system-service\"]`";
    let names = named(node, "syscalls", expected, |name| {
        syscall::check(name).map_err(|near| Unknown {
            what: syscall::kind(name),
            near,
            known: "`ringfence profile syscalls` lists the groups; see syscalls(2) for names",
        })?;
        Ok(name.to_owned())
    })?;
    if names.is_empty() {
        return Err(meaning(
            &place,
            "`syscalls` allows none, so that nothing could run",
            "write \"default\", or list what is needed",
        ));
    }
    Ok(SyscallChoice::Listed(names))
}

/// What `[kernel]` of the profile `profile` opens.
pub(super) fn kernel(profile: &Arc<str>, place: &Place, node: Node) -> Result<Vec<Opening>, Error> {
    let mut openings = Vec::new();
    for entry in section(place, node, "kernel")? {
        if entry.key != "allow" {
            return Err(unknown(&entry.key, &entry.place, "[kernel]", &KERNEL_KEYS));
        }
        let expected = "a list of names, as in `[\"userns\"]`";
        for item in list(entry.node, "allow", expected)? {
            let name = one_line(&item, "allow")?;
            let surface = kernel::surface(&name).map_err(|near| {
                let known: Vec<_> = kernel::names().collect();
                let fault = Unknown {
                    what: "part of the kernel",
                    near,
                    known: &format!("known: {}", known.join(", ")),
                };
                fault.error(&name, &item.place)
            })?;
            openings.push(Opening {
                surface,
                origin: Origin::Profile {
                    profile: Arc::clone(profile),
                    place: item.place,
                },
            });
        }
    }
    Ok(openings)
}

/// A name that nothing has.
struct Unknown<'a> {
    what: &'static str,
    near: Option<&'static str>,
    known: &'a str,
}

impl Unknown<'_> {
    fn error(self, name: &str, place: &Place) -> Error {
        let message = format!("no {} is called `{}`", self.what, shortened(name));
        Error::Meaning(Fault::new(place, message).help(match self.near {
            Some(near) => format!("did you mean `{near}`?"),
            None => self.known.to_owned(),
        }))
    }
}

fn named<T>(
    node: Node,
    key: &str,
    expected: &str,
    find: impl Fn(&str) -> Result<T, Unknown<'static>>,
) -> Result<Vec<T>, Error> {
    list(node, key, expected)?
        .into_iter()
        .map(|item| {
            let name = one_line(&item, key)?;
            find(&name).map_err(|unknown| unknown.error(&name, &item.place))
        })
        .collect()
}
