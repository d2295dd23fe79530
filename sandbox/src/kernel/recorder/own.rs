//! The maps that are one recording's own.

use std::{
    os::fd::AsFd as _,
    thread::{self, JoinHandle},
    time::Duration,
};

use aya::maps::{HashOfMaps, MapData, MapError};
use aya_obj::generated::bpf_map_type;
use ringfence_abi::limits::{RECORD_RING_BYTES, SEEN};

use super::{pinned::both, read::SEEN_BYTES};
use crate::kernel::{Error, engine, pins::Pins};

/// How long it is waited before it is looked again.
const MOMENT: Duration = Duration::from_micros(50);

/// What has been told, and the stream.
pub(super) struct Own {
    pub(super) ring: MapData,
    pub(super) seen: MapData,
}

impl Own {
    pub(super) fn create() -> Result<Self, Error> {
        let failed = |map, error: MapError| Error::map("create", map, engine::spell(&error));
        let (ring, seen) = both(|| ring(RECORD_RING_BYTES), || seen(SEEN));
        Ok(Self {
            ring: ring.map_err(|error| failed("RECORDS", error))?,
            seen: seen.map_err(|error| failed("SEEN", error))?,
        })
    }
}

/// What has been told by a recording: a map without type information, as [`crate::kernel::map::hash_of_maps`] asks for.
pub(in crate::kernel) fn seen(entries: u32) -> Result<MapData, MapError> {
    let bytes = u32::try_from(SEEN_BYTES).unwrap_or(u32::MAX);
    let kind = bpf_map_type::BPF_MAP_TYPE_HASH as u32;
    let definition = aya_obj::Map::new_from_params(kind, bytes, 8, entries, 0);
    MapData::create(definition, "ringfence_seen", None)
}

/// The stream of one recording.
pub(in crate::kernel) fn ring(bytes: u32) -> Result<MapData, MapError> {
    let kind = bpf_map_type::BPF_MAP_TYPE_RINGBUF as u32;
    let definition = aya_obj::Map::new_from_params(kind, 0, 0, bytes, 0);
    MapData::create(definition, "ringfence_acts", None)
}

/// The maps of a recording among those of all.
///
/// Programs find a map as soon as it is put there, and the kernel then waits for a grace period before it says so (kernel/bpf/syscall.c,
/// `maybe_wait_bpf_programs`): nothing here has to wait for that.
#[derive(Default)]
pub(super) struct Standing(Vec<JoinHandle<Result<(), MapError>>>);

impl Standing {
    /// Puts them there. The caller has its turn.
    pub(super) fn of(pins: &Pins, number: u32, own: &Own) -> Result<Self, Error> {
        let maps = [("SEEN", &own.seen), ("RECORDS", &own.ring)];
        let begun = maps.map(|(name, map)| (name, begin(pins, name, number, map)));
        let mut standing = Self::default();
        let mut found = Ok(());
        for (name, put) in begun {
            let stands = put.and_then(|(all, put)| {
                let stands = stands(name, &all, number, &put);
                standing.0.push(put);
                stands
            });
            found = found.and(stands);
        }
        if found.is_err() {
            // What is still on its way there would be found by the next of this number.
            standing.end();
        }
        found.map(|()| standing)
    }

    /// Waits until the kernel has said so.
    pub(super) fn end(&mut self) {
        for put in self.0.drain(..) {
            // What has been found there was put there.
            put.join().ok();
        }
    }
}

type All = HashOfMaps<MapData, u32>;

fn begin(
    pins: &Pins,
    name: &'static str,
    number: u32,
    map: &MapData,
) -> Result<(All, JoinHandle<Result<(), MapError>>), Error> {
    let failed = |error: &dyn std::error::Error| Error::map("write", name, engine::spell(error));
    let mut all: All = engine::open(pins, name)?;
    let copied = map.fd().as_fd().try_clone_to_owned();
    let copied = copied.map_err(|error| failed(&error))?;
    let map = MapData::from_fd(copied).map_err(|error| failed(&error))?;
    let put = thread::spawn(move || all.insert(number, &map, 0));
    Ok((engine::open(pins, name)?, put))
}

/// Until it is there, or cannot be put there.
fn stands(
    name: &'static str,
    all: &All,
    number: u32,
    put: &JoinHandle<Result<(), MapError>>,
) -> Result<(), Error> {
    loop {
        // Asked before it is looked: what has ended has put it there, or has failed.
        let has_ended = put.is_finished();
        if all.keys().flatten().any(|key| key == number) {
            return Ok(());
        }
        if has_ended {
            return Err(Error::map("write", name, "the kernel does not take it"));
        }
        thread::sleep(MOMENT);
    }
}
