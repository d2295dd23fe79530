//! From a question to an answer, and to what it opens.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use ringfence_abi::automaton::DEAD;

use super::event::{QueryCause, QueryEvent};
use super::message::{Answer, Question};
use super::serve::TENDING;
use super::special::is_special;
use super::upstream::Found;
use super::{Shared, locked};
use crate::policy::Mode;

/// Seconds that an answer from the hosts file lives: the file may change.
const HOSTS_TTL: u32 = 5;
/// How long an address of the hosts file stays open; it is opened anew long before.
const HOSTS_OPEN: Duration = Duration::from_secs(24 * 60 * 60);

/// What a name may be in each policy.
struct Standing {
    /// The state that it opens by policy; [`DEAD`] where it opens nothing.
    states: Vec<u32>,
    /// Whether it is resolved although nothing allows it.
    audited: bool,
}

impl Shared {
    /// The answer to the message `bytes`; `None` if there is none to give.
    pub(super) fn respond(&self, bytes: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        let question = match Question::parse(bytes) {
            Ok(question) => question,
            Err(refusal) => return refusal,
        };
        let answer = self.answer(&question).unwrap_or_else(|(cause, code)| {
            locked(&self.events).add(QueryEvent {
                name: question.shown(),
                kind: question.kind().to_string(),
                cause,
            });
            Answer::Code(code)
        });
        question.respond(answer, over_tcp)
    }

    fn answer(&self, question: &Question) -> Result<Answer, (QueryCause, ResponseCode)> {
        let now = Instant::now();
        if !locked(&self.budget).take_query(now) {
            return Err((QueryCause::TooManyQueries, ResponseCode::Refused));
        }
        if question.kind() == RecordType::PTR
            && let Some(address) = question.reverse()
        {
            return Ok(self.reverse(address));
        }
        let denied = (QueryCause::Denied, ResponseCode::NXDomain);
        let Some(name) = &question.name else {
            return Err(denied);
        };
        let standing = self.standing(name).ok_or(denied)?;
        if standing.audited {
            self.tell(question, QueryCause::Audited);
        }
        // Other records lead past the resolver (HTTPS and SVCB have addresses in them), or carry data in either direction.
        let kind = question.kind();
        if !matches!(kind, RecordType::A | RecordType::AAAA) {
            return Ok(Answer::Addresses(Vec::new(), 0));
        }
        if let Err(wildcard) = locked(&self.budget).take_name(name) {
            return Err((QueryCause::TooManyNames(wildcard), ResponseCode::Refused));
        }
        let (found, from_hosts) = self.find(name, kind)?;
        if !found.exists {
            return Ok(Answer::Code(ResponseCode::NXDomain));
        }
        let mut addresses = Vec::new();
        for address in found.addresses {
            let opened = self.open(name, &standing, address, from_hosts, found.ttl, now);
            match opened {
                Ok(()) => addresses.push(address),
                // The others may do.
                Err(cause @ QueryCause::Inside(_)) => self.tell(question, cause),
                Err(cause) => return Err((cause, ResponseCode::ServFail)),
            }
        }
        Ok(Answer::Addresses(addresses, found.ttl))
    }

    /// What `name` may be; `None` if it is not to be resolved.
    fn standing(&self, name: &str) -> Option<Standing> {
        let states: Vec<_> = self
            .policies
            .iter()
            .map(|policy| policy.name_state(name))
            .collect();
        let allowed = states.iter().any(|&state| state != DEAD);
        let lenient = |mode| self.policies.iter().any(|policy| policy.mode == mode);
        let audited = !allowed && lenient(Mode::Audit);
        (allowed || audited || lenient(Mode::Off)).then_some(Standing { states, audited })
    }

    /// The addresses of `name`, and whether the administrator says so.
    fn find(
        &self,
        name: &str,
        kind: RecordType,
    ) -> Result<(Found, bool), (QueryCause, ResponseCode)> {
        let known = locked(&self.hosts).addresses(name);
        if let Some(mut addresses) = known {
            addresses.retain(|address| address.is_ipv4() == (kind == RecordType::A));
            let found = Found {
                addresses,
                ttl: HOSTS_TTL,
                exists: true,
            };
            return Ok((found, true));
        }
        match self.upstream.addresses(name, kind) {
            Ok(found) => Ok((found, false)),
            Err(why) => Err((QueryCause::Unanswered(why), ResponseCode::ServFail)),
        }
    }

    /// Opens `address` in every policy that `name` opens something of. One that lies inside is opened by no name: it is of use where a
    /// rule is about it.
    fn open(
        &self,
        name: &str,
        standing: &Standing,
        address: IpAddr,
        from_hosts: bool,
        ttl: u32,
        now: Instant,
    ) -> Result<(), QueryCause> {
        let ttl = if from_hosts {
            HOSTS_OPEN
        } else {
            Duration::from_secs(ttl.into())
        };
        let mut grants = locked(&self.grants);
        let inside = !from_hosts && is_special(address);
        let mut usable = false;
        for (number, (policy, &state)) in self.policies.iter().zip(&standing.states).enumerate() {
            // A rule about the address says on which ports; the name adds none.
            if inside {
                usable |= policy.mode != Mode::Enforce || policy.reaches_address(address);
                continue;
            }
            usable |= policy.mode != Mode::Enforce || state != DEAD;
            if state != DEAD {
                grants.open(number, address, state, ttl, now)?;
            }
        }
        if !usable {
            return Err(QueryCause::Inside(address));
        }
        grants.note(address, name, inside);
        Ok(())
    }

    /// The names that led to an open address; nobody else is asked.
    fn reverse(&self, address: IpAddr) -> Answer {
        let grants = locked(&self.grants);
        let names = grants.names(address);
        if names.is_empty() || !grants.is_open(address) {
            return Answer::Code(ResponseCode::NXDomain);
        }
        Answer::Names(names.into_iter().take(1).collect(), HOSTS_TTL)
    }

    fn tell(&self, question: &Question, cause: QueryCause) {
        locked(&self.events).add(QueryEvent {
            name: question.shown(),
            kind: question.kind().to_string(),
            cause,
        });
    }

    /// What has to be done from time to time, at most once a second: the hosts file is read if it has changed, what it says of allowed names is
    /// opened, and what has expired is closed.
    pub(super) fn tend(&self) {
        let now = Instant::now();
        {
            let mut tended = locked(&self.tended);
            if tended.is_some_and(|at| now.saturating_duration_since(at) < TENDING) {
                return;
            }
            *tended = Some(now);
        }
        locked(&self.grants).sweep(now);
        let mut hosts = locked(&self.hosts);
        if !hosts.refresh(now) {
            return;
        }
        let known: Vec<(String, Vec<IpAddr>)> = hosts
            .names()
            .chain(["localhost"])
            .filter_map(|name| Some((name.to_owned(), hosts.addresses(name)?)))
            .collect();
        drop(hosts);
        for (name, addresses) in known {
            let Some(standing) = self.standing(&name) else {
                continue;
            };
            for address in addresses {
                if let Err(cause) = self.open(&name, &standing, address, true, HOSTS_TTL, now) {
                    let kind = if address.is_ipv4() { "A" } else { "AAAA" };
                    locked(&self.events).add(QueryEvent {
                        name: name.clone(),
                        kind: kind.to_owned(),
                        cause,
                    });
                }
            }
        }
    }
}
