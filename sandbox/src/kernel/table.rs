//! A compiled policy as the value of one map: what the kernel half reads.

use std::str::FromStr as _;

use caps::Capability;
use ringfence_abi::{
    automaton,
    network::{CONNECT, LISTEN, SNI_IF_PRESENT, SNI_OFF, SNI_REQUIRED, before_ipv4},
    policy::{Header, LARGE_WORDS, MODE_AUDIT, MODE_ENFORCE, MODE_OFF, NO_TABLE},
    rights::PROGRAMS,
    surface::Surfaces,
};

use super::{Error, fence::SIZES};
use crate::policy::{Automaton, FilePolicy, Mode, NetworkPolicy, Policy, Sni};

/// One table, ready to be put into a map.
pub(super) struct Table {
    /// Which of the three table sizes it has.
    pub(super) size_class: u8,
    /// Header, words, and zeros up to the size of its class.
    pub(super) value: Vec<u8>,
}

/// The parts of a policy that one table holds, of the fence at large or of one program.
#[derive(Clone, Copy)]
struct Part<'a> {
    /// `None` where another engine judges files.
    files: Option<&'a FilePolicy>,
    network: &'a NetworkPolicy,
    kernel: Surfaces,
}

/// The tables of a policy: the fence's at large, then its programs' by their numbers.
///
/// # Errors
/// Where one does not fit, or is damaged.
pub(super) fn all_of(policy: &Policy) -> Result<Vec<Table>, Error> {
    encode_all(&parts(policy), mask(&policy.capabilities)?, None)
}

/// The same in tables of these classes.
///
/// # Errors
/// As for [`all_of`], and where one does not fit into its class or there is another number of them.
pub(super) fn all_in(policy: &Policy, classes: &[u8]) -> Result<Vec<Table>, Error> {
    encode_all(&parts(policy), mask(&policy.capabilities)?, Some(classes))
}

fn parts(policy: &Policy) -> Vec<Part<'_>> {
    let at_large = Part {
        files: Some(&policy.files),
        network: &policy.network,
        kernel: policy.kernel,
    };
    let programs = policy.programs.iter().map(|program| Part {
        files: Some(&program.files),
        network: &program.network,
        kernel: program.kernel,
    });
    [at_large].into_iter().chain(programs).collect()
}

/// The only table where another engine judges all but the network, and tells no programs apart.
///
/// # Errors
/// As for [`all_of`].
pub(super) fn of_the_network(policy: &Policy) -> Result<Vec<Table>, Error> {
    encode_all(&[network_part(policy)], 0, None)
}

/// The same in a table of this class.
///
/// # Errors
/// As for [`all_in`].
pub(super) fn of_the_network_in(policy: &Policy, classes: &[u8]) -> Result<Vec<Table>, Error> {
    encode_all(&[network_part(policy)], 0, Some(classes))
}

fn network_part(policy: &Policy) -> Part<'_> {
    Part {
        files: None,
        network: &policy.network,
        kernel: policy.kernel,
    }
}

/// A table that denies everything.
///
/// # Errors
/// None that its parts give.
pub(super) fn deny_all(class: usize) -> Result<Vec<u8>, Error> {
    let part = Part {
        files: None,
        network: &NetworkPolicy::none(),
        kernel: Surfaces::NONE,
    };
    let classes = [NO_TABLE; PROGRAMS as usize + 1];
    let class = u8::try_from(class).unwrap_or(u8::MAX);
    encode(part, 0, 0, classes, class)
}

fn encode_all(
    parts: &[Part<'_>],
    capabilities: u64,
    given: Option<&[u8]>,
) -> Result<Vec<Table>, Error> {
    let mut classes = [NO_TABLE; PROGRAMS as usize + 1];
    if parts.len() > classes.len() {
        return Err(Error::Programs {
            programs: parts.len() - 1,
            most: classes.len() - 1,
        });
    }
    for (class, part) in classes.iter_mut().zip(parts) {
        let network = &part.network.automaton;
        check(network)?;
        let files = part.files.map(|files| &files.automaton);
        files.map(check).transpose()?;
        let words = files.map_or(0, |files| files.words.len());
        *class = size_class(words + network.words.len())?;
    }
    if let Some(given) = given {
        let needed = &mut classes[..parts.len()];
        if needed.len() != given.len() {
            return Err(Error::Fixed("it has another number of programs"));
        }
        if needed
            .iter()
            .zip(given)
            .any(|(needed, given)| needed > given)
        {
            return Err(Error::Fixed(
                "its rules need a larger table than the fence has",
            ));
        }
        needed.copy_from_slice(given);
    }
    let tables = parts.iter().zip(classes).map(|(&part, size_class)| {
        let value = encode(part, parts.len() - 1, capabilities, classes, size_class)?;
        Ok(Table { size_class, value })
    });
    tables.collect()
}

/// The bits of capabilities, by the numbers of include/uapi/linux/capability.h.
fn mask(names: &[String]) -> Result<u64, Error> {
    let mut mask = 0;
    for name in names {
        let capability = Capability::from_str(&format!("CAP_{}", name.to_ascii_uppercase()))
            .map_err(|_| Error::Damaged(format!("there is no capability `{name}`")))?;
        mask |= capability.bitmask();
    }
    Ok(mask)
}

/// Which of the three table sizes holds this many words.
fn size_class(words: usize) -> Result<u8, Error> {
    (0..)
        .zip(SIZES)
        .find_map(|(class, size)| (words <= size).then_some(class))
        .ok_or(Error::TooLarge {
            words,
            limit: LARGE_WORDS,
        })
}

/// The programs mask indices and do not ask.
fn check(automaton: &Automaton) -> Result<(), Error> {
    automaton
        .check()
        .map_err(|what| Error::Damaged(what.to_owned()))
}

/// Header, words, and zeros up to the size of the class and one word more. The fields of [`Header`] in their order.
fn encode(
    part: Part<'_>,
    programs: usize,
    capabilities: u64,
    classes: [u8; PROGRAMS as usize + 1],
    size_class: u8,
) -> Result<Vec<u8>, Error> {
    let too_large = |_| Error::Damaged("a number does not fit the table's header".to_owned());
    let bytes = value_bytes(SIZES[usize::from(size_class)]);
    let mut value = Vec::with_capacity(bytes);
    let files = part.files.map(|files| &files.automaton);
    let file_words = files.map_or(&[][..], |files| &files.words);
    let network = &part.network.automaton;
    value.extend_from_slice(
        &files
            .map_or(automaton::DEAD, |files| files.start)
            .to_ne_bytes(),
    );
    value.extend_from_slice(&part.kernel.0.to_ne_bytes());
    value.extend_from_slice(&capabilities.to_ne_bytes());
    value.push(part.files.map_or(MODE_ENFORCE, |files| mode(files.mode)));
    value.push(mode(part.network.mode));
    value.push(u8::from(part.network.reaches));
    value.push(u8::try_from(programs).map_err(too_large)?);
    value.extend_from_slice(&network.start.to_ne_bytes());
    for kind in [CONNECT, LISTEN] {
        let state = network.state(&before_ipv4(kind));
        value.extend_from_slice(&state.to_ne_bytes());
    }
    let base = u32::try_from(file_words.len()).map_err(too_large)?;
    value.extend_from_slice(&base.to_ne_bytes());
    value.push(sni(part.network.sni));
    value.extend_from_slice(&Header::DENY_ALL.reserved);
    value.extend_from_slice(&classes);
    value.extend_from_slice(&files.map_or([0; 256], |files| files.classes));
    value.extend_from_slice(&network.classes);
    value.resize(value.len() + size_of_val(&Header::DENY_ALL.mounts), 0);
    debug_assert_eq!(value.len(), size_of::<Header>());
    for word in file_words.iter().chain(&network.words) {
        value.extend_from_slice(&word.to_ne_bytes());
    }
    value.resize(bytes, 0);
    Ok(value)
}

const fn mode(mode: Mode) -> u8 {
    match mode {
        Mode::Enforce => MODE_ENFORCE,
        Mode::Audit => MODE_AUDIT,
        Mode::Off => MODE_OFF,
    }
}

const fn sni(sni: Sni) -> u8 {
    match sni {
        Sni::Required => SNI_REQUIRED,
        Sni::IfPresent => SNI_IF_PRESENT,
        Sni::Off => SNI_OFF,
    }
}

/// The bytes of a table's value in a size class.
pub(super) fn value_bytes(words: usize) -> usize {
    size_of::<Header>() + (words + 1) * size_of::<u64>()
}

#[cfg(test)]
mod tests {
    use ringfence_abi::{
        network::{address_question, mapped},
        policy::SMALL_WORDS,
    };

    use super::*;

    #[test]
    fn a_question_about_an_ipv4_address_begins_as_the_header_says() {
        for kind in [CONNECT, LISTEN] {
            let before = before_ipv4(kind);
            for address in [[0; 4], [127, 0, 0, 1], [255; 4]] {
                let question = address_question(kind, mapped(address), 17, 53);
                let (beginning, rest) = question.split_at(before.len());
                assert_eq!((beginning, &rest[..4]), (&before[..], &address[..]));
            }
        }
    }

    #[test]
    fn the_size_class_is_the_smallest_that_holds_the_table() {
        assert_eq!(size_class(SMALL_WORDS).unwrap(), 0);
        assert_eq!(size_class(SMALL_WORDS + 1).unwrap(), 1);
        assert_eq!(size_class(LARGE_WORDS).unwrap(), 2);
        assert!(matches!(
            size_class(LARGE_WORDS + 1),
            Err(Error::TooLarge { .. })
        ));
    }
}
