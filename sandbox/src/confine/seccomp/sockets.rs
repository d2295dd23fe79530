//! Which sockets a fence may make, as far as the arguments of the calls say it.
//!
//! The kernel takes each argument for an integer of 32 bits, and a filter compares 64: everything is compared under a
//! mask. libseccomp takes one comparison for each argument of a rule and has no "none of these", so what is closed is listed:
//! the families one by one below 32, and above by their bits.

use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};

use super::super::error::Error;
use super::{add, add_when, refused};

/// Which sockets a fence may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::confine) enum Sockets {
    /// All.
    Any,
    /// Unix sockets.
    Unix {
        /// And sockets of TCP and UDP, whose peers somebody else judges, and questions to the kernel about routes.
        internet: bool,
    },
    /// Pairs of connected Unix sockets, which have no name to reach anybody by.
    Pairs {
        /// As above.
        internet: bool,
    },
}

/// An argument is an integer of 32 bits.
const INTEGER: u64 = 0xffff_ffff;
/// `SOCK_TYPE_MASK` (include/linux/net.h); flags stand above.
const KIND: u64 = 0xf;
const FAMILY_ARGUMENT: u32 = 0;
const KIND_ARGUMENT: u32 = 1;
const PROTOCOL_ARGUMENT: u32 = 2;

/// Closes what is not among `sockets`.
pub(super) fn close(filter: &mut ScmpFilterContext, sockets: Sockets) -> Result<(), Error> {
    if sockets == Sockets::Any {
        return Ok(());
    }
    let not_unix = ScmpArgCompare::new(
        FAMILY_ARGUMENT,
        ScmpCompareOp::NotEqual,
        number(libc::AF_UNIX),
    );
    add_when(filter, "socketpair", libc::EACCES, not_unix)?;
    match sockets {
        Sockets::Any => {}
        Sockets::Unix { internet: false } => add_when(filter, "socket", libc::EACCES, not_unix)?,
        Sockets::Pairs { internet: false } => add(filter, "socket", libc::EACCES)?,
        Sockets::Unix { internet: true } => close_others(filter, &[libc::AF_UNIX])?,
        Sockets::Pairs { internet: true } => close_others(filter, &[])?,
    }
    // 32-bit x86 has a second door to both, with its arguments in memory. C libraries use the first since 4.3.
    add(filter, "socketcall", libc::EACCES)
}

/// Closes every family but those of the internet, netlink, and `besides`; of the former all but streams and datagrams, of
/// netlink all but routes.
fn close_others(filter: &mut ScmpFilterContext, besides: &[i32]) -> Result<(), Error> {
    let internet = [libc::AF_INET, libc::AF_INET6];
    let open = |family: u64| {
        let mut all = internet.iter().chain(besides).chain(&[libc::AF_NETLINK]);
        all.any(|&one| number(one) == family)
    };
    for family in (0..32).filter(|&family| !open(family)) {
        close_when(filter, &[masked(FAMILY_ARGUMENT, INTEGER, family)])?;
    }
    for bit in (5..32).map(|place| 1 << place) {
        close_when(filter, &[masked(FAMILY_ARGUMENT, bit, bit)])?;
    }
    let judged = [number(libc::SOCK_STREAM), number(libc::SOCK_DGRAM)];
    for family in internet.map(number) {
        for kind in (0..=KIND).filter(|kind| !judged.contains(kind)) {
            let family = masked(FAMILY_ARGUMENT, INTEGER, family);
            close_when(filter, &[family, masked(KIND_ARGUMENT, KIND, kind)])?;
        }
    }
    // NETLINK_ROUTE is 0.
    for bit in (0..32).map(|place| 1 << place) {
        let family = masked(FAMILY_ARGUMENT, INTEGER, number(libc::AF_NETLINK));
        close_when(filter, &[family, masked(PROTOCOL_ARGUMENT, bit, bit)])?;
    }
    Ok(())
}

fn masked(argument: u32, mask: u64, value: u64) -> ScmpArgCompare {
    ScmpArgCompare::new(argument, ScmpCompareOp::MaskedEqual(mask), value)
}

fn close_when(filter: &mut ScmpFilterContext, compare: &[ScmpArgCompare]) -> Result<(), Error> {
    let syscall = ScmpSyscall::from_name("socket").map_err(|source| refused("socket", source))?;
    filter
        .add_rule_conditional(ScmpAction::Errno(libc::EACCES), syscall, compare)
        .map_err(|source| refused("socket", source))?;
    Ok(())
}

fn number(constant: i32) -> u64 {
    u64::from(constant.cast_unsigned())
}
