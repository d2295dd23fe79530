//! Tables and event streams stay when their fence goes, for the next one of its identifier.
//!
//! Whoever changes an entry of a map of maps waits until every program has ended that may still use the old one
//! (kernel/bpf/syscall.c, 6.12: `maybe_wait_bpf_programs`; before 6.8 who looks one up waits as well, and who removes one that is not
//! there): milliseconds, and tens of them on a busy machine, each time. What is inside an inner map changes without that. So the maps of
//! the lowest identifiers are made and pinned once, and written into ever after; no task has the identifier while that happens, and between
//! two fences the table denies everything.

use std::{fs, io, os::fd::AsFd as _, path::Path};

use aya::maps::MapData;
use ringfence_abi::{policy as abi, rights::PROGRAMS};

use super::{
    Engine, Error, Events,
    engine::Maps,
    fence::{NAMES, absent_is_fine, array, ring, spell},
    map,
    pins::Pins,
    table::{self, Table},
};

/// Identifiers whose maps stay. The lowest free one is given, so that they serve whoever runs a few fences at a time; each takes a
/// stream, and as a rule one small table.
const KEPT: u32 = 8;
pub(super) const STREAMS: &str = "EVENTS";

/// Whether a table stays: small ones, and of the next size those of fences at large.
const fn stays(id: u32, program: u8, class: usize) -> bool {
    id <= KEPT && (class == 0 || class == 1 && program == 0)
}

/// Puts a table in its place.
pub(super) fn fill(
    pins: &Pins,
    maps: &mut Maps,
    (id, program): (u32, u8),
    table: &Table,
) -> Result<(), Error> {
    let class = usize::from(table.size_class);
    let (name, key) = (NAMES[class], abi::table(id, program));
    let place = pins.kept(name, key);
    if stays(id, program, class) && place.exists() {
        return write(&open(&place)?, &table.value, name);
    }
    let made = self::made(table)?;
    maps.tables[class]
        .insert(key, &made, 0)
        .map_err(|error| Error::map("write", name, spell(&error)))?;
    // Pinned last: what is pinned is in its place, and what is not is replaced the next time.
    if stays(id, program, class) {
        made.pin(&place)
            .map_err(|error| Error::pin(&place, error))?;
    }
    Ok(())
}

/// A table in a map of its own, in nobody's place yet.
pub(super) fn made(table: &Table) -> Result<MapData, Error> {
    let name = NAMES[usize::from(table.size_class)];
    let made = array(table.value.len()).map_err(|error| Error::map("create", name, error))?;
    write(&made, &table.value, name)?;
    Ok(made)
}

/// Puts a table that was [`made`] in the place of the one that is in force, which tasks may be looking into: as a whole.
pub(super) fn put(
    engine: &mut Engine,
    (id, program): (u32, u8),
    table: &Table,
    made: &MapData,
) -> Result<(), Error> {
    let class = usize::from(table.size_class);
    let (name, key) = (NAMES[class], abi::table(id, program));
    let place = engine.pins.kept(name, key);
    // The pin leads to the old one, and goes first: what is pinned is in its place.
    match fs::remove_file(&place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::state(&place, error));
        }
        _ => {}
    }
    engine.maps.tables[class]
        .insert(key, made, 0)
        .map_err(|error| Error::map("write", name, spell(&error)))?;
    // Without its pin it is removed with the fence, as one that does not stay.
    if stays(id, program, class) {
        made.pin(&place).ok();
    }
    Ok(())
}

/// The event stream of a fence, without what an earlier one has left unread.
pub(super) fn stream(pins: &Pins, maps: &mut Maps, id: u32) -> Result<Events, Error> {
    let place = pins.kept(STREAMS, id);
    if id <= KEPT && place.exists() {
        let mut stream = Events::of(open(&place)?)?;
        stream.skip()?;
        return Ok(stream);
    }
    let made = ring().map_err(|error| Error::map("create", STREAMS, error))?;
    maps.events
        .insert(id, &made, 0)
        .map_err(|error| Error::map("write", STREAMS, spell(&error)))?;
    if id <= KEPT {
        made.pin(&place)
            .map_err(|error| Error::pin(&place, error))?;
    }
    Events::of(made)
}

/// Empties the places that a fence has filled: `classes` are those of its tables, by their programs' numbers. In all others nothing
/// is, or what denies everything.
pub(super) fn leave_own(
    pins: &Pins,
    maps: &mut Maps,
    id: u32,
    classes: &[u8],
) -> Result<(), Error> {
    for (program, &class) in (0..).zip(classes) {
        let class = usize::from(class);
        let (name, key) = (NAMES[class], abi::table(id, program));
        let place = pins.kept(name, key);
        if stays(id, program, class) && place.exists() {
            write(&open(&place)?, &table::deny_all(class)?, name)?;
        } else {
            absent_is_fine(name, maps.tables[class].remove(&key))?;
        }
    }
    leave_stream(maps, id)
}

/// Empties the places of a fence of which nobody knows any more what it has filled.
pub(super) fn leave(pins: &Pins, maps: &mut Maps, id: u32) -> Result<(), Error> {
    let first = abi::table(id, 0);
    for (class, name) in NAMES.into_iter().enumerate() {
        for program in (0..=PROGRAMS).filter(|&program| stays(id, program, class)) {
            let place = pins.kept(name, first + u32::from(program));
            if place.exists() {
                write(&open(&place)?, &table::deny_all(class)?, name)?;
            }
        }
        let goes = |key: &u32| {
            let program = key.checked_sub(first).map(u8::try_from);
            // What would stay and has no pin is what somebody has not come to the end with.
            let is_kept = |program| stays(id, program, class) && pins.kept(name, *key).exists();
            matches!(program, Some(Ok(program)) if program <= PROGRAMS && !is_kept(program))
        };
        let tables = &mut maps.tables[class];
        let all: Vec<u32> = tables
            .keys()
            .collect::<Result<_, _>>()
            .map_err(|error| Error::map("read", name, spell(&error)))?;
        for key in all.into_iter().filter(goes) {
            absent_is_fine(name, tables.remove(&key))?;
        }
    }
    leave_stream(maps, id)
}

fn leave_stream(maps: &mut Maps, id: u32) -> Result<(), Error> {
    match id {
        0..=KEPT => Ok(()),
        _ => absent_is_fine(STREAMS, maps.events.remove(&id)),
    }
}

fn open(place: &Path) -> Result<MapData, Error> {
    MapData::from_pin(place).map_err(|error| Error::pin(place, error))
}

fn write(array: &MapData, value: &[u8], name: &'static str) -> Result<(), Error> {
    map::write_only_element(array.fd().as_fd(), value.len(), value)
        .map_err(|error| Error::map("fill", name, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_small_and_often_used_stays() {
        assert!(stays(1, 0, 0) && stays(KEPT, PROGRAMS, 0) && stays(1, 0, 1));
        assert!(!stays(1, 0, 2) && !stays(1, 1, 1) && !stays(KEPT + 1, 0, 0));
    }
}
