//! How many there are of something, in words.

use std::fmt::Display;

/// `1 kind`, `2 kinds`: `one` is what a single one is called, `many` what others are.
#[must_use]
pub fn number_of<N: Copy + Display + From<u8> + PartialEq>(
    count: N,
    one: &str,
    many: &str,
) -> String {
    let name = if count == N::from(1) { one } else { many };
    format!("{count} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_single() {
        let said = [0_u64, 1, 2, 11].map(|count| number_of(count, "process", "processes"));
        assert_eq!(
            said,
            ["0 processes", "1 process", "2 processes", "11 processes"]
        );
    }
}
