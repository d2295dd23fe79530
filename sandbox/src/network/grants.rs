//! Which addresses are open, because names led to them, and until when.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ringfence_abi::automaton::DEAD;
use ringfence_abi::network::STATES;

use super::event::QueryCause;

/// An address stays open at least this long: programs look a name up once and connect some time after.
const SHORTEST: Duration = Duration::from_secs(60);
/// And this much longer than its record lives: what was looked up just before the end may be used.
const GRACE: Duration = Duration::from_secs(300);
/// And no longer than this without being asked for again.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Most addresses that are open at a time.
const MOST_ADDRESSES: usize = 8_192;
/// Most names that are kept for reports.
const MOST_NAMES: usize = 16_384;

/// Opens the way to an address; an error is a sentence.
pub type Grant = Box<dyn Fn(&Opened) -> Result<(), String> + Send + Sync>;

/// An address and all that is open of it. What was open before and is not in it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The policy that is meant: 0 at large, or the number of the program.
    pub policy: usize,
    /// The address.
    pub address: IpAddr,
    /// States of the policy's automaton after the names that led there, then [`DEAD`].
    pub states: [u32; STATES],
    /// How long from now it stays open; zero closes it.
    pub lifetime: Duration,
}

/// What is open.
pub(super) struct Grants {
    grant: Grant,
    /// States and when they end, by policy and address.
    open: HashMap<(usize, IpAddr), BTreeMap<u32, Instant>>,
    names: BTreeMap<IpAddr, BTreeSet<String>>,
    /// Addresses inside that no administrator's name leads to.
    inside: BTreeSet<IpAddr>,
    /// Names in `names`.
    count: usize,
}

impl Grants {
    pub(super) fn new(grant: Grant) -> Self {
        Self {
            grant,
            open: HashMap::new(),
            names: BTreeMap::new(),
            inside: BTreeSet::new(),
            count: 0,
        }
    }

    /// Opens `address` in `policy` for what `state` stands for, as long as a record that lives for `ttl` is good for.
    pub(super) fn open(
        &mut self,
        policy: usize,
        address: IpAddr,
        state: u32,
        ttl: Duration,
        now: Instant,
    ) -> Result<(), QueryCause> {
        let expires = now + (ttl.max(SHORTEST) + GRACE).min(LONGEST);
        let key = (policy, address);
        if self.open.len() >= MOST_ADDRESSES && !self.open.contains_key(&key) {
            self.sweep(now);
            if self.open.len() >= MOST_ADDRESSES {
                return Err(QueryCause::TooManyAddresses(address));
            }
        }
        let mut states = self.open.get(&key).cloned().unwrap_or_default();
        states.retain(|_, expires| *expires > now);
        let until = states.entry(state).or_insert(expires);
        *until = expires.max(*until);
        if states.len() > STATES {
            return Err(QueryCause::TooManyPorts(address));
        }
        (self.grant)(&opened(key, &states, now)).map_err(QueryCause::NotOpened)?;
        self.open.insert(key, states);
        Ok(())
    }

    /// Keeps that `name` led to `address`, which lies `inside`, or not.
    pub(super) fn note(&mut self, address: IpAddr, name: &str, inside: bool) {
        if self.count < MOST_NAMES {
            if inside {
                self.inside.insert(address.to_canonical());
            }
            let names = self.names.entry(address).or_default();
            self.count += usize::from(names.insert(name.to_owned()));
        }
    }

    /// The names that led to `address`.
    pub(super) fn names(&self, address: IpAddr) -> BTreeSet<String> {
        self.names
            .get(&address.to_canonical())
            .cloned()
            .unwrap_or_default()
    }

    /// Whether a name that somebody else answered for led to `address`, and that lies inside.
    pub(super) fn is_inside(&self, address: IpAddr) -> bool {
        self.inside.contains(&address.to_canonical())
    }

    /// Whether something of `address` is open.
    pub(super) fn is_open(&self, address: IpAddr) -> bool {
        self.open.keys().any(|(_, open)| *open == address)
    }

    /// Closes what has expired, where something else keeps the address open.
    pub(super) fn sweep(&mut self, now: Instant) {
        let grant = &self.grant;
        self.open.retain(|key, states| {
            let before = states.len();
            states.retain(|_, expires| *expires > now);
            // What cannot be closed now expires in the kernel by itself, at the latest of its ends.
            if states.len() < before {
                grant(&opened(*key, states, now)).ok();
            }
            !states.is_empty()
        });
    }
}

fn opened(
    (policy, address): (usize, IpAddr),
    states: &BTreeMap<u32, Instant>,
    now: Instant,
) -> Opened {
    let mut listed = [DEAD; STATES];
    for (slot, state) in listed.iter_mut().zip(states.keys()) {
        *slot = *state;
    }
    let last = states.values().max().copied().unwrap_or(now);
    Opened {
        policy,
        address,
        states: listed,
        lifetime: last.saturating_duration_since(now),
    }
}
