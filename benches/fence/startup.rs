//! From the start of what stands before the command to the end of `/bin/true`.

use std::path::Path;

use crate::kit::contestant::Contestant;
use crate::kit::{rounds, rows::What};
use crate::once::names;

/// The first start, which may load programs, and those after it.
pub(crate) fn all(times: usize, place: &Path) {
    let contestants = Contestant::all(&[], place);
    let words = ["/bin/true".into()];
    let what = What {
        section: "start",
        name: "/bin/true",
        unit: "ms",
    };
    rounds(what, &names(&contestants), times, |number| {
        contestants[number].time(&words, place)
    });
}
