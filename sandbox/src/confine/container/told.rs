//! What the launcher is told, written down.

use std::os::unix::ffi::OsStrExt;

use super::super::fallback::Domain;
use super::super::seccomp::Program;

#[allow(
    dead_code,
    reason = "this side writes; the launcher and the test below read"
)]
#[path = "../../../launcher/plan.rs"]
mod format;

/// The file's bytes.
pub(super) fn write(domain: Option<&Domain>, filters: &[Program]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let number = |bytes: &mut Vec<u8>, number: u64| bytes.extend(number.to_ne_bytes());
    let rules = domain.map_or(&[][..], |domain| &domain.rules);
    for one in [
        format::MAGIC,
        domain.map_or(0, |domain| domain.handled),
        domain.map_or(0, |domain| domain.scoped),
        domain.map_or(0, |domain| domain.attribute_bytes),
        rules.len() as u64,
        filters.len() as u64,
    ] {
        number(&mut bytes, one);
    }
    for (access, path) in rules {
        let path = path.as_os_str().as_bytes();
        number(&mut bytes, *access);
        number(&mut bytes, path.len() as u64 + 1);
        bytes.extend(path);
        bytes.push(0);
    }
    for filter in filters {
        let instructions = filter.bytes();
        number(&mut bytes, instructions.len() as u64);
        bytes.extend(instructions);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::super::seccomp::{Sockets, Wanted};
    use super::*;
    use crate::policy::Syscalls;
    use ringfence_abi::surface::Surfaces;

    fn written() -> Vec<u8> {
        let domain = Domain {
            handled: 7,
            scoped: 3,
            attribute_bytes: 24,
            rules: vec![(5, "/a b".into()), (1, "/".into())],
        };
        let wanted = Wanted {
            sockets: Sockets::Any,
            open: Surfaces::default(),
            fallback: true,
            shares_ipc: false,
            tells: false,
        };
        let filters = Program::all(wanted, &Syscalls::Default).unwrap();
        write(Some(&domain), &filters)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let bytes = written();
        let mut plan = format::Plan::read(&bytes).unwrap();
        assert_eq!(
            (plan.handled, plan.scoped, plan.attribute_bytes),
            (7, 3, 24)
        );
        assert_eq!(plan.next_rule(), Some(Some((5, &b"/a b\0"[..]))));
        assert_eq!(plan.next_rule(), Some(Some((1, &b"/\0"[..]))));
        assert_eq!(plan.next_rule(), Some(None));
        let filter = plan.next_filter().unwrap().unwrap();
        assert!(!filter.is_empty() && filter.len().is_multiple_of(8));
        assert_eq!(plan.next_filter(), Some(None));
    }

    #[test]
    fn what_is_cut_short_is_not_taken_for_less() {
        let bytes = written();
        for length in 0..bytes.len() {
            let whole = format::Plan::read(&bytes[..length]).is_some_and(|mut plan| {
                while let Some(rule) = plan.next_rule() {
                    if rule.is_none() {
                        return matches!(plan.next_filter(), Some(Some(_)));
                    }
                }
                false
            });
            assert!(!whole, "{length} of {}", bytes.len());
        }
    }
}
