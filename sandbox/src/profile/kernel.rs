//! The names of `[kernel] allow`: parts of the kernel that are closed unless they are opened here.

use std::hash::{Hash, Hasher};

use ringfence_abi::surface::{self, Surface, Surfaces};

use super::rule::Origin;

/// A surface that is opened, and where that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The surface.
    pub surface: &'static Surface,
    /// Where it was written.
    pub origin: Origin,
}

impl Hash for Opening {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { surface, origin } = self;
        (surface.bit, origin).hash(state);
    }
}

/// The surface called `text`.
///
/// # Errors
///
/// The surface with the nearest name, if one is near.
pub fn surface(text: &str) -> Result<&'static Surface, Option<&'static str>> {
    match surface::ALL.iter().find(|known| known.name == text) {
        Some(known) => Ok(known),
        None => Err(super::nearest(text, names())),
    }
}

/// Every name, in the order in which they are shown.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    surface::ALL.iter().map(|surface| surface.name)
}

/// All that `openings` open.
#[must_use]
pub fn opened(openings: &[Opening]) -> Surfaces {
    openings.iter().fold(Surfaces::NONE, |all, opening| {
        all.union(opening.surface.bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surface_is_found_by_its_name_and_an_unknown_one_refused_with_the_nearest() {
        assert_eq!(
            surface("userns").map(|found| found.bit),
            Ok(surface::USERNS)
        );
        assert_eq!(surface("user-ns"), Err(Some("userns")));
        assert_eq!(surface("everything"), Err(None));
    }
}
