//! Why something is closed that no path rule is about, and what would open it.

use ringfence_abi::{event::operation, surface::Surfaces};

use crate::{event::Event, profile::capability};

/// The reason, as the end of a sentence.
pub(super) fn reason(event: &Event) -> String {
    if event.operation == operation::CAPABILITY {
        return match capability_name(event.detail) {
            Some(name) => format!("the profile does not list the capability `{name}`"),
            None => format!(
                "capability {} is not one that this version knows",
                event.detail
            ),
        };
    }
    match Surfaces::numbered(event.surface) {
        Some(surface) => format!("`{}` is closed: {}", surface.name, surface.text),
        None if event.operation == operation::SOCKET => {
            "there is no network: only Unix sockets are made".to_owned()
        }
        None => "it is closed to every fenced task".to_owned(),
    }
}

/// The line of a profile that would open it; `None` where nothing does.
pub(super) fn remedy(event: &Event) -> Option<String> {
    if event.operation == operation::CAPABILITY {
        let name = capability_name(event.detail)?;
        return Some(format!("[process] capabilities = [\"{name}\"]"));
    }
    let surface = Surfaces::numbered(event.surface)?;
    Some(format!("[kernel] allow = [\"{}\"]", surface.name))
}

fn capability_name(number: u32) -> Option<&'static str> {
    let number = usize::try_from(number).ok()?;
    capability::NAMES.get(number).copied()
}
