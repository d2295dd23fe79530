//! Values of a profile as what they have to be, with errors that say what to write instead.

use super::super::error::Error;
use super::super::nearest;
use super::super::rule::shortened;
use super::super::source::{Fault, Place};
use super::super::tree::{Content, Entry, Node};

/// The entries of a section, which must have some.
pub(super) fn section(place: &Place, node: Node, name: &str) -> Result<Vec<Entry>, Error> {
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

pub(super) fn list(node: Node, key: &str, expected: &str) -> Result<Vec<Node>, Error> {
    match node.value {
        Content::List(items) => Ok(items),
        other => Err(wrong_kind(&node.place, key, &other, expected)),
    }
}

pub(super) fn text(node: &Node, key: &str) -> Result<String, Error> {
    match &node.value {
        Content::Text(text) => Ok(text.clone()),
        other => Err(wrong_kind(&node.place, key, other, "a string")),
    }
}

pub(super) fn truth(node: &Node, key: &str) -> Result<bool, Error> {
    match node.value {
        Content::Truth(truth) => Ok(truth),
        ref other => Err(wrong_kind(&node.place, key, other, "true or false")),
    }
}

/// A string that is a name: not empty, and without control characters, since reports print it.
pub(super) fn one_line(node: &Node, key: &str) -> Result<String, Error> {
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
pub(super) fn word<T: Copy>(
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

pub(super) fn wrong_kind(place: &Place, key: &str, content: &Content, expected: &str) -> Error {
    let message = format!("`{key}` is {}", content.kind());
    meaning(place, &message, &format!("write {expected}"))
}

pub(super) fn unknown(key: &str, place: &Place, section: &str, known: &[&str]) -> Error {
    let message = format!("unknown key `{}` in {section}", shortened(key));
    let help = match nearest(key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known: {}", known.join(", ")),
    };
    meaning(place, &message, &help)
}

pub(super) fn meaning(place: &Place, message: &str, help: &str) -> Error {
    Error::Meaning(Fault::new(place, message).help(help))
}
