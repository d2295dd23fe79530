//! Ways in which an engine is stricter than the profile: what may lie behind a denial that the profile has no part in.

use ringfence_abi::rights;

use crate::policy::{Grade, Protection, Standing};

/// The name of a protection, and how the engine is stricter there.
type Way = (String, String);

/// Where the kernel's own files are, which engines treat by themselves.
const KERNEL_FILES: [&str; 2] = ["/proc", "/sys"];

/// Where the engine is stricter than the profile, each way by itself.
pub(super) fn ways(standings: &[Standing]) -> Vec<Way> {
    let stricter = standings
        .iter()
        .filter(|standing| standing.grade == Grade::Stricter);
    let named = stricter.flat_map(|standing| {
        let name = standing.protection.name();
        let reasons = standing.reasons.iter();
        reasons.map(move |reason| (name.to_owned(), reason.clone()))
    });
    named.collect()
}

/// What may lie behind a denial that the profile has no part in.
pub(super) fn hint(stricter: &[Way], needed: u8, path: &[u8]) -> String {
    // What is said of a file system of the kernel's is why a path in it is denied, and no other.
    let place = KERNEL_FILES.iter().find(|place| lies_in(path, place));
    let is_about = |reason: &str| match place {
        Some(place) => names(reason, place),
        None => !KERNEL_FILES.iter().any(|place| names(reason, place)),
    };
    let reasons: Vec<&str> = [
        (rights::READ, Protection::FilesRead),
        (rights::WRITE, Protection::FilesWrite),
        // That the kernel's settings are not written is kept with the system calls that change them.
        (rights::WRITE, Protection::Syscalls),
        (rights::EXEC, Protection::Exec),
    ]
    .into_iter()
    .filter(|(right, _)| needed & right != 0)
    .flat_map(|(_, protection)| {
        let all = stricter.iter();
        all.filter(move |(name, _)| name == protection.name())
    })
    .map(|(_, reason)| reason.as_str())
    .filter(|reason| is_about(reason))
    .collect();
    if reasons.is_empty() {
        return "permission bits, an attribute or a limit may deny it".to_owned();
    }
    format!(
        "this engine is stricter than the profile: {}",
        reasons.join("; ")
    )
}

/// Whether `path` is below `place`.
fn lies_in(path: &[u8], place: &str) -> bool {
    let below = path.strip_prefix(place.as_bytes());
    below.is_some_and(|below| below.starts_with(b"/"))
}

/// Whether a reason speaks of `place` or of something below it.
fn names(reason: &str, place: &str) -> bool {
    let mut words = reason.split([' ', ',']);
    words.any(|word| word == place || lies_in(word.as_bytes(), place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stricter(protection: Protection, reason: &str) -> Standing {
        Standing {
            grade: Grade::Stricter,
            reasons: vec![reason.to_owned()],
            ..Standing::exact(protection, &[])
        }
    }

    #[test]
    fn a_denial_is_laid_to_what_is_said_of_its_place() {
        const LATER: &str = "what is listed in / and does not exist yet cannot be made or written";
        const SETTINGS: &str = "nothing in /proc and /sys can be written";
        let ways = ways(&[
            stricter(Protection::FilesWrite, &format!("{LATER}; other")),
            stricter(Protection::Syscalls, SETTINGS),
        ]);
        let hint = |path: &str| hint(&ways, rights::WRITE, path.as_bytes());
        for path in ["/proc/1/comm", "/sys/power/state"] {
            assert!(hint(path).ends_with(SETTINGS), "{}", hint(path));
            assert!(!hint(path).contains(LATER), "{}", hint(path));
        }
        for path in ["/procedure", "/srv/new"] {
            assert!(
                hint(path).ends_with(&format!("{LATER}; other")),
                "{}",
                hint(path)
            );
        }
        let reading = super::hint(&ways, rights::READ, b"/proc/1/comm");
        assert!(reading.contains("permission bits"), "{reading}");
    }
}
