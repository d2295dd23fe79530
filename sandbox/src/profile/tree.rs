//! TOML or JSON as one tree in which every key and value knows its place.

use std::borrow::Cow;
use std::sync::Arc;

use jsonc_parser::ast::{ObjectPropName, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use toml::de::{DeTable, DeValue};

use super::error::Error;
use super::source::{Fault, Place, Source};

/// A value and its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Content,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Content {
    Text(String),
    Integer(i64),
    Number(f64),
    Truth(bool),
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// What the profile language has no use for: dates, null, numbers out of range.
    Other(&'static str),
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

impl Content {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Number(_) => "a number",
            Self::Truth(_) => "a truth value",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// The entries of a TOML document, in the order of the file.
pub(super) fn from_toml(source: &Arc<Source>) -> Result<Vec<Entry>, Error> {
    let table = DeTable::parse(source.text()).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        // Some messages have two lines: what failed, and what was expected.
        let mut lines = error.message().lines();
        let fault = Fault::new(
            &Place::new(source, span),
            format!("not TOML: {}", lines.next().unwrap_or("syntax error")),
        );
        Error::Syntax(match lines.next() {
            Some(expected) => fault.help(expected),
            None => fault,
        })
    })?;
    Ok(toml_entries(source, table.into_inner()))
}

fn toml_entries(source: &Arc<Source>, table: DeTable<'_>) -> Vec<Entry> {
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
        .into_iter()
        .map(|(key, value)| Entry {
            place: Place::new(source, key.span()),
            key: key.into_inner().into_owned(),
            node: Node {
                place: Place::new(source, value.span()),
                value: toml_value(source, value.into_inner()),
            },
        })
        .collect()
}

fn toml_value(source: &Arc<Source>, value: DeValue<'_>) -> Content {
    match value {
        DeValue::String(text) => Content::Text(text.into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Content::Other("an integer out of range"), Content::Integer),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or(Content::Other("a number out of range"), Content::Number),
        DeValue::Boolean(truth) => Content::Truth(truth),
        DeValue::Datetime(_) => Content::Other("a date"),
        DeValue::Array(list) => Content::List(
            list.into_iter()
                .map(|value| Node {
                    place: Place::new(source, value.span()),
                    value: toml_value(source, value.into_inner()),
                })
                .collect(),
        ),
        DeValue::Table(table) => Content::Table(toml_entries(source, table)),
    }
}

/// The entries of a JSON document, in the order of the file.
pub(super) fn from_json(source: &Arc<Source>) -> Result<Vec<Entry>, Error> {
    let strict = ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let parsed =
        parse_to_ast(source.text(), &CollectOptions::default(), &strict).map_err(|error| {
            let range = error.range();
            let place = Place::new(source, range.start..range.end);
            Error::Syntax(Fault::new(&place, format!("not JSON: {}", error.kind())))
        })?;
    match parsed.value {
        None => Ok(Vec::new()),
        Some(value) => {
            let node = json_node(source, value)?;
            match node.value {
                Content::Table(entries) => Ok(entries),
                other => Err(Error::Syntax(
                    Fault::new(&node.place, format!("a profile is {}", other.kind()))
                        .help("write an object: {\"version\": 1, ...}"),
                )),
            }
        }
    }
}

fn json_node(source: &Arc<Source>, value: Value<'_>) -> Result<Node, Error> {
    let place = Place::new(source, value.start()..value.end());
    let value = match value {
        Value::StringLit(text) => Content::Text(Cow::into_owned(text.value)),
        Value::NumberLit(number) => json_number(number.value),
        Value::BooleanLit(truth) => Content::Truth(truth.value),
        Value::NullKeyword(_) => Content::Other("null"),
        Value::Array(list) => Content::List(
            list.elements
                .into_iter()
                .map(|value| json_node(source, value))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(object) => {
            let mut entries: Vec<Entry> = Vec::new();
            for property in object.properties {
                let (key, range) = match property.name {
                    ObjectPropName::String(name) => (name.value.into_owned(), name.range),
                    ObjectPropName::Word(name) => (name.value.to_owned(), name.range),
                };
                let place = Place::new(source, range.start..range.end);
                if entries.iter().any(|entry| entry.key == key) {
                    return Err(Error::Syntax(
                        Fault::new(&place, format!("key `{key}` is written twice"))
                            .help("keep one of them"),
                    ));
                }
                let node = json_node(source, property.value)?;
                entries.push(Entry { key, place, node });
            }
            Content::Table(entries)
        }
    };
    Ok(Node { place, value })
}

fn json_number(text: &str) -> Content {
    if let Ok(integer) = text.parse() {
        return Content::Integer(integer);
    }
    text.parse()
        .map_or(Content::Other("a number out of range"), Content::Number)
}
