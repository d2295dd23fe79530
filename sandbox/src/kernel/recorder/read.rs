//! From the recorder's maps to what user space knows.

use aya::maps::{self, MapData};
use ringfence_abi::{
    limits::SYSTEM_CALLS,
    record::{Act as Header, Recording, Seen},
};

use crate::{kernel::reader::Reader, trace::Act};

/// Bytes of a key of the map of what has been told.
pub(super) const SEEN_BYTES: usize = size_of::<Seen>();
/// Words of a recording's entry.
pub(super) const WORDS: usize = size_of::<Recording>() / size_of::<u64>();
/// Those before its tally.
pub(super) const BEFORE_TALLY: usize = 5;
/// The one that says its token.
pub(super) const TOKEN: usize = 4;

/// The acts that one recording has told.
pub(super) type Told = maps::HashMap<MapData, [u8; SEEN_BYTES], u64>;

/// The numbers of the bits that are set.
pub(super) fn numbers(words: &[u64]) -> Vec<u32> {
    let bits = (0u32..).zip(words).flat_map(|(word, &bits)| {
        (0..u64::BITS)
            .filter(move |bit| bits >> bit & 1 != 0)
            .map(move |bit| word * u64::BITS + bit)
    });
    bits.collect()
}

const _: () = assert!(WORDS == BEFORE_TALLY + 6 + 2 * SYSTEM_CALLS / 64);

/// Reads a record in the field order of [`Header`].
pub(super) fn decode(record: &[u8]) -> Option<Act> {
    let mut reader = Reader(record);
    let seen = seen_of(&mut reader)?;
    let time = reader.u64()?;
    let process = reader.u32()?;
    let path_bytes = reader.u16()?;
    let other_bytes = reader.u16()?;
    debug_assert_eq!(record.len() - reader.0.len(), size_of::<Header>());
    let path = reader.take(usize::from(path_bytes))?.to_vec();
    let other = reader.take(usize::from(other_bytes))?.to_vec();
    Some(Act {
        seen,
        time,
        process,
        path,
        other,
    })
}

pub(super) fn seen_of(reader: &mut Reader<'_>) -> Option<Seen> {
    Some(Seen {
        path: reader.u64()?,
        other: reader.u64()?,
        program: reader.u64()?,
        detail: reader.u32()?,
        operation: reader.u16()?,
        needed: reader.u8()?,
        flags: reader.u8()?,
    })
}
