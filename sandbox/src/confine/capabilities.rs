//! Capability sets: names of a policy to the kernel's bit masks.

use std::str::FromStr;

use caps::{CapSet, Capability};

use super::error::Error;

/// The mask of the capabilities that `names` lists (lower case, without `cap_`).
///
/// # Errors
/// On a name that does not exist.
pub(super) fn mask(names: &[String]) -> Result<u64, Error> {
    let mut mask = 0;
    for name in names {
        let full = format!("CAP_{}", name.to_ascii_uppercase());
        let capability = Capability::from_str(&full)
            .map_err(|_| Error::UnknownCapability { name: name.clone() })?;
        mask |= capability.bitmask();
    }
    Ok(mask)
}

/// The names of a mask, as [`mask`] takes them; bits without a name are left out.
pub(super) fn names(mask: u64) -> Vec<String> {
    let mut all: Vec<Capability> = caps::all().into_iter().collect();
    all.sort_by_key(Capability::index);
    all.into_iter()
        .filter(|capability| mask & capability.bitmask() != 0)
        .map(|capability| {
            capability
                .to_string()
                .trim_start_matches("CAP_")
                .to_lowercase()
        })
        .collect()
}

/// What the caller holds now; none if the kernel does not say.
pub(super) fn permitted() -> u64 {
    caps::read(None, CapSet::Permitted)
        .map(|held| held.iter().fold(0, |mask, one| mask | one.bitmask()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_masks_are_each_others_reverse() {
        let kept = ["chown".to_owned(), "net_bind_service".to_owned()];
        let mask = mask(&kept).unwrap();
        assert_eq!(mask, 1 | 1 << 10);
        assert_eq!(names(mask), kept);
    }

    #[test]
    fn a_capability_that_does_not_exist_is_refused() {
        let error = mask(&["chwon".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("chwon"));
    }
}
