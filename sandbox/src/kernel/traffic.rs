//! What has passed between a fence and its peers, where somebody asked for it.

use std::net::{IpAddr, Ipv6Addr};

use aya::maps::{HashMap, MapData};

use super::{Error, reader::Reader};

/// The map, its keys and values in the field order of [`ringfence_abi::network`].
pub(super) type Map = HashMap<MapData, [u8; KEY], [u64; 3]>;

/// Bytes of a key.
pub(super) const KEY: usize = size_of::<ringfence_abi::network::TrafficKey>();

/// What has passed between a fence and one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The peer's address; `None` for all the traffic that found no room of its own.
    pub address: Option<IpAddr>,
    /// The peer's port; the fence's own for connections that came.
    pub port: u16,
    /// Protocol, by the numbers of [`ringfence_abi::network`].
    pub protocol: u8,
    /// Whether the peer opened the connections.
    pub came: bool,
    /// Connections; 0 where the protocol has none.
    pub connections: u64,
    /// Bytes that left, without headers.
    pub sent: u64,
    /// Bytes that came.
    pub received: u64,
}

/// The key of what finds no room of its own.
pub(super) fn rest(fence: u32) -> [u8; KEY] {
    let mut key = [0; KEY];
    key[..4].copy_from_slice(&fence.to_ne_bytes());
    key
}

/// All of a fence.
pub(super) fn of_fence(map: &Map, fence: u32) -> Result<Vec<Traffic>, Error> {
    let unreadable = |error| Error::map("read", "TRAFFIC", error);
    let mut all = Vec::new();
    for entry in map.iter() {
        let (key, [connections, sent, received]) = entry.map_err(unreadable)?;
        if key[..4] != fence.to_ne_bytes() || connections + sent + received == 0 {
            continue;
        }
        let Some((address, port, protocol, came)) = peer(&key[4..]) else {
            continue;
        };
        all.push(Traffic {
            address,
            port,
            protocol,
            came,
            connections,
            sent,
            received,
        });
    }
    Ok(all)
}

/// What stands behind the fence in a key.
fn peer(bytes: &[u8]) -> Option<(Option<IpAddr>, u16, u8, bool)> {
    let mut reader = Reader(bytes);
    let address: [u8; 16] = reader.take(16)?.try_into().ok()?;
    let (port, protocol) = (reader.u16()?, reader.u8()?);
    let address = (protocol != 0).then(|| Ipv6Addr::from(address).to_canonical());
    Some((address, port, protocol, reader.u8()? != 0))
}

/// Forgets all of a fence: nothing where its traffic was not counted.
pub(super) fn forget(map: &mut Map, fence: u32) -> Result<(), Error> {
    if map.get(&rest(fence), 0).is_err() {
        return Ok(());
    }
    let keys: Vec<_> = map
        .keys()
        .filter_map(Result::ok)
        .filter(|key: &[u8; KEY]| key[..4] == fence.to_ne_bytes())
        .collect();
    for key in keys {
        super::fence::absent_is_fine("TRAFFIC", map.remove(&key))?;
    }
    Ok(())
}
