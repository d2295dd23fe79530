//! Parts of the kernel that are closed unless the profile opens them by name.

use ringfence_abi::{event::cause, policy::Label, surface::Surfaces};

use crate::{
    identity,
    outcome::Outcome,
    report::{self, Finding},
    table,
    verdict::{self, ALLOW, Object},
};

/// What a closed surface answers (`-EPERM`), as the kernel does where a capability is missing.
pub const NOT_PERMITTED: i32 = -1;

/// Whether the policy in force opens `surface`. A policy that cannot be found opens nothing.
#[inline(always)]
pub fn open(label: Label, surface: Surfaces) -> bool {
    table::surfaces(label).contains(surface)
}

/// Allows the current task's act if it is in no fence or `surface` is open.
#[inline(always)]
pub fn gate(surface: Surfaces, operation: u16, detail: u32) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    if open(label, surface) {
        return ALLOW;
    }
    refuse(label, surface, operation, detail)
}

/// The same for an act on an object, which the event names.
#[inline(always)]
pub fn gate_at(
    surface: Surfaces,
    operation: u16,
    object: impl FnOnce() -> Result<Object, Outcome>,
) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    if open(label, surface) {
        return ALLOW;
    }
    verdict::closed(label, operation, surface, object());
    NOT_PERMITTED
}

/// Denies an act that has no path. `surface` is what would open it, `Surfaces::NONE` if nothing does.
#[inline(always)]
pub fn refuse(label: Label, surface: Surfaces, operation: u16, detail: u32) -> i32 {
    verdict::with_slot(label, |slot| {
        let finding = Finding {
            detail,
            surface: surface.number(),
            ..Finding::new(operation, cause::CLOSED)
        };
        report::send(slot, label, finding);
        NOT_PERMITTED
    })
}
