//! Addresses that names have led to: what the resolver grants before it answers.

use std::{net::IpAddr, time::Duration};

use aya::maps::{HashMap, MapData};
use ringfence_abi::{automaton::DEAD, network::STATES, policy::table, rights::PROGRAMS};

use super::{Error, engine, pins::Pins};

/// The part of `NAMES` that belongs to one fence: may be sent to the thread that resolves.
#[derive(Debug)]
pub struct Grants {
    names: HashMap<MapData, [u8; 20], [u8; 40]>,
    fence: u32,
}

impl Grants {
    pub(super) fn open(pins: &Pins, fence: u32) -> Result<Self, Error> {
        Ok(Self {
            names: engine::open(pins, "NAMES")?,
            fence,
        })
    }

    /// Lets `address` be reached for `time` from now on, in one of the fence's policies: at large (`program` 0) or of one of
    /// its programs. `states` are those of the policy's network automaton after the names that lead there, and take the place
    /// of what was granted before; at most [`STATES`].
    ///
    /// # Errors
    /// Where there are too many states, or no room. Nothing new is granted then.
    pub fn grant(
        &mut self,
        program: u8,
        address: IpAddr,
        states: &[u32],
        time: Duration,
    ) -> Result<(), Error> {
        if states.len() > STATES || program > PROGRAMS {
            return Err(Error::map(
                "write",
                "NAMES",
                "it has more than there is room for",
            ));
        }
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let expires = since_boot()?.saturating_add(time);
        let mut value = [0; 40];
        value[..8].copy_from_slice(&expires.to_ne_bytes());
        let padded = states.iter().copied().chain(std::iter::repeat(DEAD));
        for (place, state) in value[8..].chunks_exact_mut(4).zip(padded) {
            place.copy_from_slice(&state.to_ne_bytes());
        }
        self.names
            .insert(self.key(program, address), value, 0)
            .map_err(|error| Error::map("write", "NAMES", error))
    }

    /// Takes back what was granted, if anything was.
    ///
    /// # Errors
    /// Where the map cannot be written.
    pub fn revoke(&mut self, program: u8, address: IpAddr) -> Result<(), Error> {
        super::fence::absent_is_fine("NAMES", self.names.remove(&self.key(program, address)))
    }

    fn key(&self, program: u8, address: IpAddr) -> [u8; 20] {
        let mut key = [0; 20];
        key[..4].copy_from_slice(&table(self.fence, program).to_ne_bytes());
        key[4..].copy_from_slice(&as_six(address));
        key
    }
}

/// IPv4 as IPv6 maps it.
fn as_six(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Forgets every grant of a fence.
pub(super) fn forget(
    names: &mut HashMap<MapData, [u8; 20], [u8; 40]>,
    fence: u32,
) -> Result<(), Error> {
    let first = table(fence, 0);
    let own = first..=first + u32::from(PROGRAMS);
    let keys: Vec<_> = names
        .keys()
        .filter_map(Result::ok)
        .filter(|key: &[u8; 20]| {
            let [a, b, c, d, ..] = *key;
            own.contains(&u32::from_ne_bytes([a, b, c, d]))
        })
        .collect();
    for key in keys {
        super::fence::absent_is_fine("NAMES", names.remove(&key))?;
    }
    Ok(())
}

/// Forgets every peer of a fence's UDP sockets.
pub(super) fn forget_flows(
    flows: &mut HashMap<MapData, [u8; 28], u32>,
    fence: u32,
) -> Result<(), Error> {
    let keys: Vec<_> = flows
        .keys()
        .filter_map(Result::ok)
        .filter(|key: &[u8; 28]| key[..4] == fence.to_ne_bytes())
        .collect();
    for key in keys {
        super::fence::absent_is_fine("FLOWS", flows.remove(&key))?;
    }
    Ok(())
}

/// Nanoseconds on the clock that the programs read.
fn since_boot() -> Result<u64, Error> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one structure on this stack.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    let (Ok(seconds), Ok(rest), 0) = (
        u64::try_from(time.tv_sec),
        u64::try_from(time.tv_nsec),
        failed,
    ) else {
        return Err(Error::map("write", "NAMES", "there is no clock"));
    };
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(rest))
}
