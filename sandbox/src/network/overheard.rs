//! Names that others have looked up: what name servers answered to a program itself, where its queries do not come here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Instant;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::{DNSClass, RecordType};

use super::hosts::Hosts;
use super::message::host_name;
use super::special::is_special;
use super::upstream::{Found, follow};

/// Most names that are kept, as in a resolver.
const MOST_NAMES: usize = 16_384;

/// Which names led where.
#[derive(Debug, Default)]
pub struct Overheard {
    names: BTreeMap<IpAddr, BTreeSet<String>>,
    /// Addresses inside that no administrator's name leads to.
    inside: BTreeSet<IpAddr>,
    asked: BTreeSet<String>,
    /// Names in `names`.
    count: usize,
}

impl Overheard {
    /// With what the administrator's own names lead to: programs read that file themselves.
    #[must_use]
    pub fn new(hosts: PathBuf) -> Self {
        let mut overheard = Self::default();
        let mut file = Hosts::new(hosts);
        file.refresh(Instant::now());
        for name in file.names() {
            for address in file.addresses(name).unwrap_or_default() {
                overheard.note(address, name);
            }
        }
        overheard
    }

    /// Takes in what came from a name server: a message, or one with its length before it, as over TCP. What is none, or answers something
    /// else than which addresses a name has, says nothing.
    pub fn hear(&mut self, bytes: &[u8]) {
        let message = Message::from_vec(bytes).ok().filter(is_answer);
        let framed = || bytes.get(2..).and_then(|rest| Message::from_vec(rest).ok());
        let Some(message) = message.or_else(|| framed().filter(is_answer)) else {
            return;
        };
        let [query] = &message.queries[..] else {
            return;
        };
        let kind = query.query_type();
        let is_address = matches!(kind, RecordType::A | RecordType::AAAA);
        if !is_address || query.query_class() != DNSClass::IN {
            return;
        }
        let Some(name) = host_name(query.name()).filter(|_| self.asked.len() < MOST_NAMES) else {
            return;
        };
        let mut found = Found::default();
        // An answer with too many aliases leads nowhere.
        follow(
            &message,
            kind,
            &mut query.name().clone(),
            &mut found,
            &mut 0,
        )
        .ok();
        for address in found.addresses {
            // What a name server says lies inside is not the administrator's word.
            if is_special(address) {
                self.inside.insert(address.to_canonical());
            }
            self.note(address, &name);
        }
        self.asked.insert(name);
    }

    /// The names that were looked up, whether they exist or not.
    #[must_use]
    pub fn asked(&self) -> &BTreeSet<String> {
        &self.asked
    }

    /// The names that led to `address`.
    #[must_use]
    pub fn names(&self, address: IpAddr) -> BTreeSet<String> {
        let names = self.names.get(&address.to_canonical());
        names.cloned().unwrap_or_default()
    }

    /// Whether `address` lies inside the host or its network, and a name led there that is not the administrator's.
    #[must_use]
    pub fn leads_inside(&self, address: IpAddr) -> bool {
        self.inside.contains(&address.to_canonical())
    }

    fn note(&mut self, address: IpAddr, name: &str) {
        if self.count < MOST_NAMES {
            let names = self.names.entry(address.to_canonical()).or_default();
            self.count += usize::from(names.insert(name.to_owned()));
        }
    }
}

fn is_answer(message: &Message) -> bool {
    message.metadata.message_type == MessageType::Response
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::op::{OpCode, Query};
    use hickory_proto::rr::rdata::{A, CNAME};
    use hickory_proto::rr::{Name, RData, Record};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn answer(asked: &str, records: &[(&str, RData)]) -> Vec<u8> {
        let mut message = Message::response(7, OpCode::Query);
        message.add_query(Query::query(name(asked), RecordType::A));
        let records = records.iter().cloned();
        message.add_answers(records.map(|(owner, data)| Record::from_rdata(name(owner), 60, data)));
        message.to_vec().unwrap()
    }

    fn a(address: [u8; 4]) -> RData {
        RData::A(A(Ipv4Addr::from(address)))
    }

    fn nothing() -> Overheard {
        Overheard::new(PathBuf::from("/nowhere/hosts"))
    }

    fn led(overheard: &Overheard, address: [u8; 4]) -> Vec<String> {
        overheard.names(address.into()).into_iter().collect()
    }

    #[test]
    fn an_answer_is_about_the_name_that_was_asked_for_whatever_alias_leads_there() {
        let mut overheard = nothing();
        let alias = RData::CNAME(CNAME(name("cdn.example.")));
        overheard.hear(&answer(
            "Web.Test.",
            &[
                ("web.test.", alias),
                ("cdn.example.", a([93, 184, 215, 14])),
                ("other.test.", a([93, 184, 215, 15])),
            ],
        ));
        assert_eq!(led(&overheard, [93, 184, 215, 14]), ["web.test"]);
        assert!(led(&overheard, [93, 184, 215, 15]).is_empty());
        assert_eq!(overheard.asked().len(), 1);
        assert!(!overheard.leads_inside([93, 184, 215, 14].into()));
    }

    #[test]
    fn one_with_its_length_before_it_is_heard_as_well() {
        let mut overheard = nothing();
        let message = answer("web.test.", &[("web.test.", a([10, 0, 0, 7]))]);
        let length = u16::try_from(message.len()).unwrap().to_be_bytes();
        overheard.hear(&[&length[..], &message].concat());
        assert_eq!(led(&overheard, [10, 0, 0, 7]), ["web.test"]);
        assert!(overheard.leads_inside([10, 0, 0, 7].into()));
    }

    #[test]
    fn a_name_without_addresses_was_asked_for_and_what_is_no_answer_says_nothing() {
        let mut overheard = nothing();
        overheard.hear(&answer("gone.test.", &[]));
        let mut query = Message::query();
        query.add_query(Query::query(name("query.test."), RecordType::A));
        overheard.hear(&query.to_vec().unwrap());
        for bytes in [&b""[..], b"\0", b"HTTP/1.1 200 OK\r\n\r\n", &[0xff; 64]] {
            overheard.hear(bytes);
        }
        let asked: Vec<_> = overheard.asked().iter().collect();
        assert_eq!(asked, ["gone.test"]);
    }

    #[test]
    fn the_administrators_names_are_known_and_lead_inside_by_his_word() {
        let hosts = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(hosts.path(), "10.0.0.9 db.test\n").unwrap();
        let overheard = Overheard::new(hosts.path().to_owned());
        assert_eq!(led(&overheard, [10, 0, 0, 9]), ["db.test"]);
        assert!(!overheard.leads_inside([10, 0, 0, 9].into()));
        assert!(overheard.asked().is_empty());
    }
}
