//! Which sockets a fence may make, as far as the arguments of the calls say it.
//!
//! The kernel takes each argument for an integer of 32 bits, and a filter compares 64: everything is compared under a
//! mask. libseccomp takes one comparison for each argument of a rule and has no "none of these", so what is closed is listed:
//! the families one by one below 32, and above by their bits.

use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};

use super::super::error::Error;
use super::{add, add_when, refused};

/// Which sockets a fence may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::confine) enum Sockets {
    /// All.
    Any,
    /// Unix sockets.
    Unix {
        /// And these.
        internet: Internet,
    },
    /// Pairs of connected Unix sockets, which have no name to reach anybody by.
    Pairs {
        /// And these.
        internet: Internet,
    },
}

/// Which sockets of the internet a fence may make; but for [`Internet::Closed`], questions to the kernel about routes as
/// well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::confine) enum Internet {
    /// None.
    Closed,
    /// Of TCP and UDP, whose peers somebody else judges.
    Judged,
    /// Of TCP alone, whose ports Landlock judges where they are bound and connected: what it does not see is closed here.
    Ports {
        /// Sockets of datagrams besides, whose peers nobody judges.
        datagrams: bool,
        /// Whether sockets listen: one that was not bound before gets a port that nobody judges.
        listen: bool,
    },
}

/// An argument is an integer of 32 bits.
const INTEGER: u64 = 0xffff_ffff;
/// `SOCK_TYPE_MASK` (include/linux/net.h); flags stand above.
const KIND: u64 = 0xf;
const FAMILY_ARGUMENT: u32 = 0;
const KIND_ARGUMENT: u32 = 1;
const PROTOCOL_ARGUMENT: u32 = 2;

/// Which netlink sockets a fence may make.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Netlink {
    Closed,
    /// Those for routes.
    Routes,
    Any,
}

/// Closes what is not among `sockets`; of netlink, `any_netlink` opens all protocols.
pub(super) fn close(
    filter: &mut ScmpFilterContext,
    sockets: Sockets,
    any_netlink: bool,
) -> Result<(), Error> {
    if sockets == Sockets::Any {
        return Ok(());
    }
    let not_unix = ScmpArgCompare::new(
        FAMILY_ARGUMENT,
        ScmpCompareOp::NotEqual,
        number(libc::AF_UNIX),
    );
    add_when(filter, "socketpair", libc::EACCES, not_unix)?;
    let netlink = |internet| match internet {
        _ if any_netlink => Netlink::Any,
        Internet::Closed => Netlink::Closed,
        Internet::Judged | Internet::Ports { .. } => Netlink::Routes,
    };
    match sockets {
        Sockets::Any => {}
        Sockets::Unix {
            internet: Internet::Closed,
        } if !any_netlink => add_when(filter, "socket", libc::EACCES, not_unix)?,
        Sockets::Pairs {
            internet: Internet::Closed,
        } if !any_netlink => add(filter, "socket", libc::EACCES)?,
        Sockets::Unix { internet } => {
            close_others(filter, internet, netlink(internet), &[libc::AF_UNIX])?;
        }
        Sockets::Pairs { internet } => close_others(filter, internet, netlink(internet), &[])?,
    }
    // 32-bit x86 has a second door to both, with its arguments in memory. C libraries use the first since 4.3.
    add(filter, "socketcall", libc::EACCES)
}

/// Closes every family but those of the internet, netlink, and `besides`; of the former all but streams and datagrams, of
/// netlink what is not open.
fn close_others(
    filter: &mut ScmpFilterContext,
    internet: Internet,
    netlink: Netlink,
    besides: &[i32],
) -> Result<(), Error> {
    let families: &[i32] = match internet {
        Internet::Closed => &[],
        Internet::Judged | Internet::Ports { .. } => &[libc::AF_INET, libc::AF_INET6],
    };
    let open = |family: u64| {
        let mut all = families.iter().chain(besides);
        all.any(|&one| number(one) == family)
            || (netlink != Netlink::Closed && family == number(libc::AF_NETLINK))
    };
    for family in (0..32).filter(|&family| !open(family)) {
        close_when(filter, &[masked(FAMILY_ARGUMENT, INTEGER, family)])?;
    }
    for bit in (5..32).map(|place| 1 << place) {
        close_when(filter, &[masked(FAMILY_ARGUMENT, bit, bit)])?;
    }
    let datagrams = !matches!(
        internet,
        Internet::Ports {
            datagrams: false,
            ..
        }
    );
    let open =
        |kind| kind == number(libc::SOCK_STREAM) || (datagrams && kind == number(libc::SOCK_DGRAM));
    for family in families.iter().copied().map(number) {
        for kind in (0..=KIND).filter(|kind| !open(*kind)) {
            let family = masked(FAMILY_ARGUMENT, INTEGER, family);
            close_when(filter, &[family, masked(KIND_ARGUMENT, KIND, kind)])?;
        }
    }
    if let Internet::Ports { listen, .. } = internet {
        close_beside_tcp(filter, families.iter().copied().map(number))?;
        close_unseen(filter, listen)?;
    }
    if netlink == Netlink::Routes {
        // NETLINK_ROUTE is 0.
        for bit in (0..32).map(|place| 1 << place) {
            let family = masked(FAMILY_ARGUMENT, INTEGER, number(libc::AF_NETLINK));
            close_when(filter, &[family, masked(PROTOCOL_ARGUMENT, bit, bit)])?;
        }
    }
    Ok(())
}

/// Closes streams of other protocols than 0, which is TCP, and TCP (6): Landlock does not judge them.
fn close_beside_tcp(
    filter: &mut ScmpFilterContext,
    families: impl Iterator<Item = u64>,
) -> Result<(), Error> {
    const TCP: u64 = 6;
    let others = (0..32)
        .map(|place| 1 << place)
        .filter(|bit| TCP & bit == 0)
        .map(|bit| (bit, bit));
    // What has no bit but those of TCP, and not both.
    let parts = [(INTEGER, 2), (INTEGER, 4)];
    for family in families {
        for (mask, value) in others.clone().chain(parts) {
            close_when(
                filter,
                &[
                    masked(FAMILY_ARGUMENT, INTEGER, family),
                    masked(KIND_ARGUMENT, KIND, number(libc::SOCK_STREAM)),
                    masked(PROTOCOL_ARGUMENT, mask, value),
                ],
            )?;
        }
    }
    Ok(())
}

/// Closes what connects or listens past Landlock: sending that connects (TCP Fast Open; the answer is that of a kernel
/// without it, on which programs connect first), and listening where nothing may.
fn close_unseen(filter: &mut ScmpFilterContext, listen: bool) -> Result<(), Error> {
    let fast_open = number(libc::MSG_FASTOPEN);
    for (name, flags) in [("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)] {
        let asked = masked(flags, fast_open, fast_open);
        add_when(filter, name, libc::EOPNOTSUPP, asked)?;
    }
    if !listen {
        add(filter, "listen", libc::EACCES)?;
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
