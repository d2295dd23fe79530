//! `[network]`: rules about peers, addresses of one's own, and Unix sockets.

use std::sync::Arc;

use super::super::error::Error;
use super::super::layer::Sections;
use super::super::network::{NetworkRight, NetworkRule};
use super::super::source::Place;
use super::super::tree::{Content, Node};
use super::value::{list, meaning, section, text, truth, unknown, word};
use super::{NETWORK_KEYS, NETWORK_RULE_KEYS};
use crate::policy::{Mode, Sni};

/// Adds what the section `node` of the profile `profile` says to `sections`.
pub(super) fn network(
    sections: &mut Sections,
    profile: &Arc<str>,
    place: &Place,
    node: Node,
) -> Result<(), Error> {
    for entry in section(place, node, "network")? {
        match entry.key.as_str() {
            "mode" => {
                let modes = [Mode::Enforce, Mode::Audit, Mode::Off];
                sections.network_mode = Some(word(&entry.node, "mode", &modes, Mode::name)?);
                continue;
            }
            "sni" => {
                let words = [Sni::Required, Sni::IfPresent, Sni::Off];
                sections.sni = Some(word(&entry.node, "sni", &words, Sni::name)?);
                continue;
            }
            _ => {}
        }
        let right = NetworkRight::ALL
            .into_iter()
            .find(|right| right.name() == entry.key);
        let Some(right) = right else {
            return Err(unknown(
                &entry.key,
                &entry.place,
                "[network]",
                &NETWORK_KEYS,
            ));
        };
        let expected = match right {
            NetworkRight::Connect | NetworkRight::Deny => {
                "a list of peers, as in `[\"example.com:443\"]`"
            }
            NetworkRight::Listen => "a list of addresses, as in `[\"127.0.0.1:8080\"]`",
            NetworkRight::Unix => "a list of sockets, as in `[\"/run/x.sock\", \"@name\"]`",
        };
        for item in list(entry.node, right.name(), expected)? {
            sections.network.push(rule(profile, right, item)?);
        }
    }
    Ok(())
}

fn rule(profile: &Arc<str>, right: NetworkRight, node: Node) -> Result<NetworkRule, Error> {
    let Node { place, value } = node;
    let entries = match value {
        Content::Text(text) => return NetworkRule::in_profile(right, &text, profile, &place),
        Content::Table(entries) => entries,
        other => {
            return Err(meaning(
                &place,
                &format!("a rule is {}", other.kind()),
                "write a string, or a table as in `{ address = \"example.com:443\", because = \"...\" }`",
            ));
        }
    };
    let mut address = None;
    let mut because = None;
    let mut expected = false;
    for entry in entries {
        match entry.key.as_str() {
            "address" => address = Some((text(&entry.node, "address")?, entry.node.place)),
            "because" => because = Some(text(&entry.node, "because")?),
            "expected" => expected = truth(&entry.node, "expected")?,
            _ => {
                return Err(unknown(
                    &entry.key,
                    &entry.place,
                    "a rule",
                    &NETWORK_RULE_KEYS,
                ));
            }
        }
    }
    let Some((address, place)) = address else {
        return Err(meaning(
            &place,
            "the rule has no `address`",
            "add `address = \"example.com:443\"`",
        ));
    };
    let mut rule = NetworkRule::in_profile(right, &address, profile, &place)?;
    rule.because = because;
    rule.expected = expected;
    Ok(rule)
}
