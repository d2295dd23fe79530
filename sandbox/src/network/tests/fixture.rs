//! A resolver behind policies that name their hosts, in front of a [`Server`], and what it answers.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use ringfence_abi::automaton::DEAD;

use super::super::*;
use super::server::{Entry, Manner, Server, record};
use crate::policy::{Automaton, Mode};

/// A resolver with what it opened.
pub(super) struct Fixture {
    pub(super) resolver: Resolver,
    pub(super) opened: Arc<Mutex<Vec<Opened>>>,
    pub(super) server: Server,
    pub(super) hosts: tempfile::NamedTempFile,
}

/// A policy in which a name opens what stands behind it, written as automata are: the compiler is another room's.
pub(super) fn policy(names: &[&str], mode: Mode) -> NetworkPolicy {
    with_ports(
        &names.iter().map(|name| (*name, 443)).collect::<Vec<_>>(),
        mode,
    )
}

/// `ringfence_abi`'s question after question, one state for each byte.
pub(super) fn with_ports(names: &[(&str, u16)], mode: Mode) -> NetworkPolicy {
    let mut questions = Vec::new();
    for (name, port) in names {
        let bytes = match name.parse::<IpAddr>() {
            Ok(address) => crate::policy::NetworkQuestion::Connect {
                address,
                protocol: 6,
                port: *port,
            }
            .bytes(),
            Err(_) => crate::policy::NetworkQuestion::Name {
                name,
                protocol: 6,
                port: *port,
            }
            .bytes(),
        };
        questions.push(bytes);
    }
    NetworkPolicy {
        mode,
        automaton: trie(&questions),
        reaches: true,
        names: true,
        ..NetworkPolicy::default()
    }
}

/// The automaton that allows exactly `questions`. What ends alike shares its states, as it does once minimised.
pub(super) fn trie(questions: &[Vec<u8>]) -> Automaton {
    fn build(
        questions: &[&[u8]],
        words: &mut Vec<u64>,
        known: &mut BTreeMap<Vec<Vec<u8>>, u32>,
    ) -> u32 {
        use ringfence_abi::automaton::{entry_word, state_word};
        let key: Vec<_> = questions.iter().map(|rest| rest.to_vec()).collect();
        if let Some(&state) = known.get(&key) {
            return state;
        }
        let mut next: BTreeMap<u8, Vec<&[u8]>> = BTreeMap::new();
        for rest in questions {
            if let [byte, rest @ ..] = rest {
                next.entry(*byte).or_default().push(rest);
            }
        }
        let accept = u8::from(questions.iter().any(|rest| rest.is_empty()));
        let targets: Vec<_> = next
            .into_iter()
            .map(|(byte, rests)| (byte, build(&rests, words, known)))
            .collect();
        let state = u32::try_from(words.len()).unwrap();
        words.push(state_word(DEAD, accept));
        words.extend([entry_word(u32::MAX, DEAD); 256]);
        for (byte, target) in targets {
            words[state as usize + 1 + usize::from(byte)] = entry_word(state, target);
        }
        known.insert(key, state);
        state
    }
    let mut words = ringfence_abi::automaton::sinks().to_vec();
    let all: Vec<_> = questions.iter().map(Vec::as_slice).collect();
    let start = build(&all, &mut words, &mut BTreeMap::new());
    let mut classes = [0; 256];
    for (class, byte) in classes.iter_mut().zip(0..=255) {
        *class = byte;
    }
    Automaton {
        start,
        classes,
        words,
    }
}

impl Fixture {
    pub(super) fn new(policies: Vec<NetworkPolicy>, records: &[&str]) -> Self {
        Self::with(policies, records, Manner::default(), "", Vec::new())
    }

    pub(super) fn with(
        policies: Vec<NetworkPolicy>,
        records: &[&str],
        manner: Manner,
        hosts_text: &str,
        wildcards: Vec<NamePattern>,
    ) -> Self {
        let records: Vec<Entry> = records.iter().map(|text| record(text)).collect();
        let server = Server::start(records, manner);
        let hosts = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(hosts.path(), hosts_text).unwrap();
        let opened = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&opened);
        let settings = Settings {
            policies,
            wildcards,
            hosts: hosts.path().to_owned(),
            upstream: Upstream::Servers(vec![server.address]),
        };
        let grant: Grant = Box::new(move |one| {
            kept.lock().unwrap().push(*one);
            Ok(())
        });
        let resolver = Resolver::start(Sockets::on_loopback().unwrap(), settings, grant).unwrap();
        Self {
            resolver,
            opened,
            server,
            hosts,
        }
    }

    pub(super) fn opened(&self) -> Vec<Opened> {
        self.opened.lock().unwrap().clone()
    }

    pub(super) fn causes(&self) -> Vec<QueryCause> {
        let (events, lost) = self.resolver.events();
        assert_eq!(lost, 0);
        events.into_iter().map(|event| event.cause).collect()
    }

    pub(super) fn ask(&self, name: &str, kind: RecordType) -> Message {
        by_udp(self.resolver.addresses()[0], &query(name, kind))
    }

    /// The addresses of `name`, which must be answered.
    pub(super) fn addresses(&self, name: &str) -> Vec<String> {
        let reply = self.ask(name, RecordType::A);
        assert_eq!(
            reply.metadata.response_code,
            ResponseCode::NoError,
            "{name}"
        );
        addresses(&reply)
    }

    pub(super) fn code(&self, name: &str) -> ResponseCode {
        self.ask(name, RecordType::A).metadata.response_code
    }
}

pub(super) fn query(name: &str, kind: RecordType) -> Message {
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    message
}

pub(super) fn by_udp(server: SocketAddr, request: &Message) -> Message {
    let bytes = exchange(server, &request.to_vec().unwrap()).expect("an answer");
    let reply = Message::from_vec(&bytes).unwrap();
    assert_eq!(reply.metadata.id, request.metadata.id);
    reply
}

pub(super) fn exchange(server: SocketAddr, bytes: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket.send_to(bytes, server).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

pub(super) fn addresses(reply: &Message) -> Vec<String> {
    let mut addresses: Vec<_> = reply
        .answers
        .iter()
        .map(|record| match &record.data {
            RData::A(address) => address.to_string(),
            RData::AAAA(address) => address.to_string(),
            other => panic!("{other}"),
        })
        .collect();
    addresses.sort();
    addresses
}
