//! Where the kernel counts what moves paths: the numbers of `rename_lock` and `mount_lock`.
//!
//! Each is the first member of a `seqlock_t` (include/linux/seqlock_types.h), a structure without a name.

use std::fs;

use ringfence_abi::layout::Layout;

/// No address, as the kernel half has it.
const UNKNOWN: u64 = 1;
const SYMBOLS: &str = "/proc/kallsyms";

/// The addresses of both numbers; none where the kernel does not show them, or keeps them otherwise. Then paths are walked each time.
pub(super) fn counters(layout: &Layout) -> [u64; 2] {
    let first = layout.sequence_number == 0 && layout.sequence_of_lock == 0;
    let symbols = match first {
        true => fs::read_to_string(SYMBOLS).unwrap_or_default(),
        false => String::new(),
    };
    found(&symbols).unwrap_or([UNKNOWN; 2])
}

fn found(symbols: &str) -> Option<[u64; 2]> {
    Some([
        address(symbols, "rename_lock")?,
        address(symbols, "mount_lock")?,
    ])
}

/// The address of the kernel's own symbol of this name, if it is shown and there is only one.
fn address(symbols: &str, name: &str) -> Option<u64> {
    let mut all = symbols.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (address, _kind, symbol) = (words.next()?, words.next()?, words.next()?);
        // A module's has the module's name behind it.
        (symbol == name && words.next().is_none()).then_some(address)
    });
    let address = u64::from_str_radix(all.next()?, 16).ok()?;
    (all.next().is_none() && address != 0).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "ffffffff82a0c0c0 D rename_lock\nffffffff82a0c100 D mount_lock\n\
                         ffffffffc0001000 d mount_lock\t[fuse]\nffffffff82a0c140 d rename_lock_of_another\n";

    #[test]
    fn both_are_found_by_their_whole_names() {
        assert_eq!(
            found(SHOWN),
            Some([0xffff_ffff_82a0_c0c0, 0xffff_ffff_82a0_c100])
        );
    }

    #[test]
    fn what_is_hidden_or_not_the_only_one_is_not_known() {
        assert_eq!(found("0 D rename_lock\n0 D mount_lock\n"), None);
        assert_eq!(
            found(&format!("{SHOWN}ffffffff82a0c180 d mount_lock\n")),
            None
        );
        assert_eq!(found(&SHOWN.replace("rename_lock\n", "other_lock\n")), None);
    }
}
