//! Abstract names of Unix sockets as rules: one flat space, in which the names of all programs of a host lie side by side.

use super::{Level, volatile};
use crate::profile::pattern::escape;

/// How many bytes a rule keeps before its first wildcard, so that it is about one program's names.
const KEPT: usize = 4;
/// Digits of a name that the kernel draws for who binds to none (unix(7), "autobind").
const DRAWN_DIGITS: usize = 5;

/// The rule about `name`, which stands behind the `@`. `own` says that the run gave it.
pub(super) fn rule(name: &[u8], own: bool, level: Level) -> String {
    if is_drawn_by_the_kernel(name) {
        return format!("@{}", "[0-9a-f]".repeat(DRAWN_DIGITS));
    }
    let text = written(name);
    format!("@{}", wider(&text, own, level).unwrap_or(text))
}

/// The name as a pattern, if it will be another one the next time.
fn wider(text: &str, own: bool, level: Level) -> Option<String> {
    // Digits behind a backslash are not the name's.
    if level == Level::Tight || text.contains('\\') {
        return None;
    }
    let drawn = volatile::pattern(text, own);
    let numbers = volatile::long_numbers(text).filter(|_| own);
    let mut found = [drawn, numbers].into_iter().flatten();
    found.find(|pattern| pattern.find(['*', '[']).is_some_and(|at| at >= KEPT))
}

/// A NUL, which no rule can say, is one byte whatever it is.
fn written(name: &[u8]) -> String {
    let parts: Vec<_> = name.split(|&byte| byte == 0).map(escape).collect();
    parts.join("?")
}

fn is_drawn_by_the_kernel(name: &[u8]) -> bool {
    name.len() == DRAWN_DIGITS && name.iter().all(|byte| b"0123456789abcdef".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(name: &str) -> String {
        rule(name.as_bytes(), true, Level::Default)
    }

    #[test]
    fn what_the_run_named_by_process_or_draw_is_another_name_the_next_time() {
        assert_eq!(own("build-server-4711"), "@build-server-[0-9]*");
        assert_eq!(own("/tmp/dbus-Xy12AbZ9qR"), "@/tmp/dbus-*");
        assert_eq!(own("gradle/d41d8cd98f00b204e9800998ecf8427e"), "@gradle/*");
    }

    #[test]
    fn names_of_others_stay_but_for_hashes() {
        let others = |name: &str| rule(name.as_bytes(), false, Level::Default);
        assert_eq!(others("/tmp/.ICE-unix/1234"), "@/tmp/.ICE-unix/1234");
        assert_eq!(others("cache-a1b2c3d4e5f60718"), "@cache-*");
    }

    #[test]
    fn no_rule_is_about_names_of_other_programs() {
        assert_eq!(own("4711"), "@4711");
        assert_eq!(own("MyServer-4711"), "@MyServer-[0-9]*");
        assert_eq!(own("ab-4711"), "@ab-4711");
    }

    #[test]
    fn what_is_tight_is_as_it_was_seen_but_for_names_that_the_kernel_draws() {
        let tight = |name: &str| rule(name.as_bytes(), true, Level::Tight);
        assert_eq!(tight("build-server-4711"), "@build-server-4711");
        let drawn = "@[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]";
        assert_eq!(tight("0a1b2"), drawn);
    }

    #[test]
    fn bytes_of_all_kinds_are_written() {
        assert_eq!(own("a*b\0\0"), r"@a\*b??");
        assert_eq!(rule(b"x\xff", true, Level::Default), r"@x\xff");
    }
}
