//! What a connection begins with: whether it is a TLS greeting (ClientHello), and which name that says (server name
//! indication, RFC 6066).
//!
//! Here and not beside the programs, so that what reads a stranger's bytes in the kernel can be tried outside of it.

use crate::network::NAME_BYTES;

/// What a connection begins with.
pub mod found {
    /// A name, at `at`.
    pub const NAME: u32 = 1;
    /// A greeting without a name.
    pub const NAMELESS: u32 = 2;
    /// No greeting.
    pub const NOT_TLS: u32 = 3;
    /// Something that begins as one and does not go on as one.
    pub const UNREADABLE: u32 = 4;
    /// Not enough to tell.
    pub const PART: u32 = 5;
    /// An extension that is about something else.
    pub const OTHER: u32 = 6;
}

/// Extensions that are looked at; what has more is [`found::UNREADABLE`]. The registry has not many more (IANA, "TLS
/// ExtensionType Values").
pub const EXTENSIONS: u32 = 64;

/// More than a record holds.
const RECORD: u32 = 1 << 17;

/// Bytes that are read.
pub trait Packet {
    /// The bytes at `at`; `None` where the packet ends before.
    fn load<const BYTES: usize>(&self, at: u32) -> Option<[u8; BYTES]>;
}

/// `read`, or that there is not enough.
macro_rules! got {
    ($read:expr) => {
        match $read {
            Some(value) => value,
            None => return Err(found::PART),
        }
    };
}

/// Where extensions lie.
#[derive(Clone, Copy)]
pub struct Extensions {
    /// The first of them.
    pub at: u32,
    /// Where they end, if the greeting is as long as it says.
    pub last: u32,
}

/// From the head of the record, at `data`, to the first extension (RFC 8446, sections 4.1.2 and 5.1); or one of [`found`].
/// `end` is where the packet ends.
#[inline(always)]
pub fn head(packet: &impl Packet, data: u32, end: u32) -> Result<Extensions, u32> {
    /// Kinds of records (RFC 8446, section B.1; RFC 6520, section 3).
    const RECORDS: core::ops::RangeInclusive<u8> = 20..=24;
    const HANDSHAKE: u8 = 22;
    const CLIENT_HELLO: u8 = 1;
    /// Of record, handshake and greeting: what comes before the session's identifier.
    const FIXED: u32 = 5 + 4 + 2 + 32;
    let [kind] = got!(packet.load::<1>(data));
    if !RECORDS.contains(&kind) {
        return Err(found::NOT_TLS);
    }
    let [major] = got!(packet.load::<1>(data + 1));
    if major != 3 {
        return Err(found::NOT_TLS);
    }
    // GnuTLS 3.7.9 reads a greeting that comes behind a change of ciphers.
    if kind != HANDSHAKE {
        return Err(found::UNREADABLE);
    }
    let head = got!(packet.load::<9>(data));
    let record = data + 5 + short(head[3], head[4]);
    let last = data + 9 + (u32::from(head[6]) << 16) + short(head[7], head[8]);
    // A greeting that is spread over several records is read by servers, and sent by nobody who means well.
    if head[5] != CLIENT_HELLO || last > record {
        return Err(found::UNREADABLE);
    }
    let mut at = data + FIXED;
    let [session] = got!(packet.load::<1>(at));
    at += 1 + u32::from(session);
    let [a, b] = got!(packet.load::<2>(at));
    at += 2 + short(a, b);
    let [methods] = got!(packet.load::<1>(at));
    at += 1 + u32::from(methods);
    if at == last {
        return Err(found::NAMELESS);
    }
    if at > last {
        return Err(found::UNREADABLE);
    }
    let [a, b] = got!(packet.load::<2>(at));
    at += 2;
    if at + short(a, b) != last || last > end + RECORD {
        return Err(found::UNREADABLE);
    }
    Ok(Extensions { at, last })
}

/// What an extension is about.
#[derive(Clone, Copy)]
pub enum Extension {
    /// Something else; the next one begins there.
    Other {
        /// Where to go on.
        next: u32,
    },
    /// The name.
    Name {
        /// Where it lies.
        at: u32,
        /// Its bytes, 1 to [`NAME_BYTES`].
        length: u32,
    },
}

/// Reads the first of `extensions`, or says with one of [`found`] why there is none. `end` is where the packet ends.
#[inline(always)]
pub fn extension(packet: &impl Packet, extensions: Extensions, end: u32) -> Result<Extension, u32> {
    let Extensions { at, last } = extensions;
    if at == last {
        return Err(found::NAMELESS);
    }
    let head = got!(packet.load::<4>(at));
    let length = short(head[2], head[3]);
    let next = at + 4 + length;
    if next > last {
        return Err(found::UNREADABLE);
    }
    if head[0] | head[1] != 0 {
        return Ok(Extension::Other { next });
    }
    // One list of one name (RFC 6066, section 3).
    let list = got!(packet.load::<5>(at + 4));
    let name = short(list[3], list[4]);
    let is_one_name = list[2] == 0 && short(list[0], list[1]) + 2 == length && name + 5 == length;
    if !is_one_name || name == 0 || name as usize > NAME_BYTES {
        return Err(found::UNREADABLE);
    }
    if next > end {
        return Err(found::PART);
    }
    Ok(Extension::Name {
        at: at + 9,
        length: name,
    })
}

/// A number of two bytes.
#[inline(always)]
fn short(high: u8, low: u8) -> u32 {
    u32::from(high) << 8 | u32::from(low)
}
