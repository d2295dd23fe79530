//! An AppArmor profile (apparmor.d(5)).

use std::fmt::Write as _;

use super::{Exported, Part, Source, not_said};
use crate::{
    compile::glob::{Component, Glob, Piece},
    policy::Mode,
    profile::{About, Right, pattern::ByteSet},
};

pub(super) fn export(source: &Source<'_>) -> Exported {
    let policy = source.policy;
    let mut lost = not_said(source, &[Part::Limits, Part::Syscalls]);
    let mut rules = Vec::new();
    for name in &policy.capabilities {
        rules.push(format!("capability {name},"));
    }
    network(source, &mut rules, &mut lost);
    rules.push("signal peer=@{profile_name},".to_owned());
    rules.push("ptrace peer=@{profile_name},".to_owned());
    rules.push("unix peer=(label=@{profile_name}),".to_owned());
    if policy.files.mode == Mode::Off {
        rules.push("file,".to_owned());
    } else {
        files(source, &mut rules, &mut lost);
    }
    let mut text = String::new();
    let mut push = |line: std::fmt::Arguments<'_>| {
        writeln!(text, "{line}").expect("a string takes everything");
    };
    push(format_args!(
        "# Written by `ringfence profile export --apparmor`."
    ));
    for sentence in &lost {
        push(format_args!("# Not said: {}", plain(sentence)));
    }
    push(format_args!(
        "abi <abi/3.0>,\n\nprofile {} {{",
        name(&policy.profile)
    ));
    for rule in rules {
        push(format_args!("  {rule}"));
    }
    push(format_args!("}}"));
    Exported { text, lost }
}

/// A name without what ends one.
fn name(profile: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    let name: String = profile
        .chars()
        .map(|character| if plain(character) { character } else { '-' })
        .collect();
    format!("ringfence-{name}")
}

/// In one line.
fn plain(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}

fn network(source: &Source<'_>, rules: &mut Vec<String>, lost: &mut Vec<String>) {
    let network = &source.policy.network;
    if network.is_off() {
        rules.push("network,".to_owned());
        return;
    }
    rules.push("network unix,".to_owned());
    if network.reaches {
        for family in [
            "inet stream",
            "inet dgram",
            "inet6 stream",
            "inet6 dgram",
            "netlink raw",
        ] {
            rules.push(format!("network {family},"));
        }
    }
    for rule in &source.effective.network {
        let reason = match &rule.about {
            About::Peer(_) => "AppArmor compares families, not peers: every address is open",
            About::Socket(_) | About::Abstract(_) => {
                "write it by hand, as a rule about a file or `unix`"
            }
        };
        lost.push(format!(
            "{} {}: {reason}",
            rule.right,
            String::from_utf8_lossy(&rule.text)
        ));
    }
}

fn files(source: &Source<'_>, rules: &mut Vec<String>, lost: &mut Vec<String>) {
    let explainer = source.explainer;
    for bound in explainer.rules_of(&explainer.sections[0]) {
        let rule = &bound.rule;
        let (before, rights) = match rule.right {
            Right::Read => ("", "r"),
            Right::Write => ("", "wkl"),
            Right::Exec => ("", "mrix"),
            Right::Deny => ("deny ", "mrwklx"),
        };
        for cover in &bound.covers {
            match written(&cover.glob) {
                Some(path) => rules.push(format!("{before}\"{path}\" {rights},")),
                None => lost.push(format!(
                    "{} {}: AppArmor has no words for its class of bytes",
                    rule.right,
                    rule.shown()
                )),
            }
        }
    }
    rules.sort();
    rules.dedup();
}

/// A pattern in AppArmor's words: directories end with a slash there, and `**` is some bytes, slashes among them.
fn written(glob: &Glob) -> Option<String> {
    let mut text = String::new();
    let mut any = false;
    for component in &glob.components {
        match component {
            Component::Any => any = true,
            Component::Name(pieces) => {
                text.push_str(if any { "/{,**/}" } else { "/" });
                any = false;
                for piece in pieces {
                    self::piece(&mut text, piece)?;
                }
            }
        }
    }
    text.push_str(match (glob.subtree || any, text.is_empty()) {
        (true, true) => "/{,**}",
        (true, false) => "{,/,/**}",
        (false, true) => "/",
        (false, false) => "{,/}",
    });
    Some(text)
}

fn piece(text: &mut String, piece: &Piece) -> Option<()> {
    match piece {
        Piece::AnyBytes => text.push('*'),
        Piece::AnyByte => text.push('?'),
        Piece::Bytes(bytes) => bytes.iter().for_each(|&byte| literal(text, byte)),
        Piece::Class(set) => class(text, *set)?,
    }
    Some(())
}

fn literal(text: &mut String, byte: u8) {
    if byte.is_ascii_alphanumeric() || b"/-_.+:@%~=#&;<>!' ".contains(&byte) {
        text.push(char::from(byte));
    } else if byte.is_ascii_graphic() {
        text.push('\\');
        text.push(char::from(byte));
    } else {
        write!(text, "\\{byte:03o}").expect("a string takes everything");
    }
}

/// `[a-z]`, or `[^a-z]` where that is shorter: a class never holds a slash.
fn class(text: &mut String, set: ByteSet) -> Option<()> {
    let (inverted, ranges) = if set.contains(0) {
        let outside = (0..=255u8).filter(|&byte| !set.contains(byte));
        (true, outside.map(|byte| (byte, byte)).collect())
    } else {
        (false, set.ranges())
    };
    text.push_str(if inverted { "[^" } else { "[" });
    for (low, high) in ranges {
        let simple = |byte: u8| byte.is_ascii_alphanumeric() || b"/_.".contains(&byte);
        if !simple(low) || !simple(high) {
            return None;
        }
        text.push(char::from(low));
        if high != low {
            text.push('-');
            text.push(char::from(high));
        }
    }
    text.push(']');
    Some(())
}
