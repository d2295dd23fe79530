//! What a recording saw as numbers, by the names that profiles use.

use libseccomp::{ScmpArch, ScmpSyscall};
use ringfence_abi::surface::{self, NAMESPACES, Surfaces, USERNS};

use super::syscalls::{CLOSED, NEWER};

/// The name of a system call of this machine's own table; its number if it has none here.
#[must_use]
pub fn system_call_name(number: u32) -> String {
    if let Some((name, _)) = NEWER.iter().find(|(_, known)| *known == number) {
        return (*name).to_owned();
    }
    let call = ScmpSyscall::from(number.cast_signed());
    call.get_name_by_arch(ScmpArch::Native)
        .unwrap_or_else(|_| number.to_string())
}

/// The names of a mask of capabilities.
#[must_use]
pub fn capability_names(mask: u64) -> Vec<String> {
    super::capabilities::names(mask)
}

/// The capabilities that the caller holds.
#[must_use]
pub fn held_capabilities() -> u64 {
    super::capabilities::permitted()
}

/// The parts of the kernel that `calls`, which succeeded, are closed for by default.
///
/// `clone3` is not among them: a fence answers that there is none, and programs use `clone`, whose flags are recorded.
#[must_use]
pub fn surfaces_of(calls: &[String]) -> Surfaces {
    let closed = CLOSED.iter().filter(|closed| {
        closed.name != "clone3" && calls.iter().any(|call| call.as_str() == closed.name)
    });
    closed
        .filter_map(|closed| closed.opened_by)
        .fold(Surfaces::NONE, Surfaces::union)
}

/// The parts of the kernel that namespaces of these `CLONE_NEW*` flags need.
#[must_use]
pub fn surfaces_of_namespaces(flags: u32) -> Surfaces {
    let user = libc::CLONE_NEWUSER.cast_unsigned();
    let mut needed = Surfaces::NONE;
    if flags & user != 0 {
        needed = needed.union(USERNS);
    }
    if flags & !user != 0 {
        needed = needed.union(NAMESPACES);
    }
    needed
}

/// The names of surfaces.
#[must_use]
pub fn surface_names(surfaces: Surfaces) -> Vec<String> {
    surface::ALL
        .iter()
        .filter(|surface| surfaces.contains(surface.bit))
        .map(|surface| surface.name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_names() {
        let number = u32::try_from(libc::SYS_openat).unwrap();
        assert_eq!(system_call_name(number), "openat");
        assert_eq!(system_call_name(452), "fchmodat2");
        assert_eq!(system_call_name(100_000), "100000");
    }

    #[test]
    fn calls_that_are_closed_name_their_surface_and_others_none() {
        let calls = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let surfaces = surfaces_of(&calls(&["read", "mount", "bpf", "clone3"]));
        assert_eq!(surface_names(surfaces), ["bpf", "mount"]);
        assert_eq!(surfaces_of(&calls(&["openat", "clone3"])), Surfaces::NONE);
        let flags = (libc::CLONE_NEWUSER | libc::CLONE_NEWNS).cast_unsigned();
        assert_eq!(
            surface_names(surfaces_of_namespaces(flags)),
            ["userns", "namespaces"]
        );
    }
}
