//! A name server of the tests' own: answers from a list, on loopback, by UDP and TCP, and keeps what it was asked.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record};

use super::super::upstream::{read_message, write_message};

/// One record.
#[derive(Clone)]
pub(super) struct Entry {
    name: Name,
    ttl: u32,
    data: RData,
}

/// How the server behaves.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Manner {
    /// All records of a chain in one answer, as a recursive server gives them.
    #[default]
    Recursive,
    /// One record of a chain at a time.
    OneByOne,
    /// Nothing fits into a datagram.
    TcpOnly,
    /// Replies with another identifier before the right one.
    Forged,
    /// Refuses.
    Refusing,
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

/// A record from words: `name A 192.0.2.1`, with 30 seconds to live.
pub(super) fn record(text: &str) -> Entry {
    let words: Vec<_> = text.split(' ').collect();
    let name = |text| {
        let mut name = Name::from_ascii(text).unwrap();
        name.set_fqdn(true);
        name
    };
    Entry {
        name: name(words[0]),
        ttl: 30,
        data: match words[1] {
            "A" => RData::A(A(words[2].parse().unwrap())),
            "AAAA" => RData::AAAA(AAAA(words[2].parse().unwrap())),
            "CNAME" => RData::CNAME(CNAME(name(words[2]))),
            other => panic!("{other}"),
        },
    }
}

impl Server {
    /// A server with `records`; its threads end with the test's process.
    pub(super) fn start(records: Vec<Entry>, manner: Manner) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, zone) = (Arc::clone(&asked), records.clone());
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = udp.recv_from(&mut buffer) {
                let reply = reply(&buffer[..length], &zone, manner, &kept);
                if manner == Manner::Forged {
                    let mut forged = reply.clone();
                    forged.metadata.id ^= 1;
                    forged.answers.clear();
                    udp.send_to(&forged.to_vec().unwrap(), peer).unwrap();
                }
                let reply = match manner {
                    Manner::TcpOnly => reply.truncate(),
                    _ => reply,
                };
                udp.send_to(&reply.to_vec().unwrap(), peer).unwrap();
            }
        });
        let kept = Arc::clone(&asked);
        thread::spawn(move || {
            while let Ok((mut stream, _)) = tcp.accept() {
                if let Ok(request) = read_message(&mut stream) {
                    let reply = reply(&request, &records, manner, &kept);
                    write_message(&mut stream, &reply.to_vec().unwrap()).unwrap();
                }
            }
        });
        Self { address, asked }
    }

    /// What it was asked, as `name TYPE`.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn reply(bytes: &[u8], records: &[Entry], manner: Manner, asked: &Mutex<Vec<String>>) -> Message {
    let request = Message::from_vec(bytes).unwrap();
    let query = request.queries[0].clone();
    asked
        .lock()
        .unwrap()
        .push(format!("{} {}", query.name(), query.query_type()));
    let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
    reply.add_query(query.clone());
    if manner == Manner::Refusing {
        reply.metadata.response_code = ResponseCode::Refused;
        return reply;
    }
    let mut name = query.name().clone();
    loop {
        let own: Vec<_> = records.iter().filter(|entry| entry.name == name).collect();
        if own.is_empty() && reply.answers.is_empty() {
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        for entry in own
            .iter()
            .filter(|entry| entry.data.record_type() == query.query_type())
        {
            reply.add_answer(Record::from_rdata(
                name.clone(),
                entry.ttl,
                entry.data.clone(),
            ));
        }
        let alias = own.iter().find_map(|entry| match &entry.data {
            RData::CNAME(alias) => Some((alias.0.clone(), entry)),
            _ => None,
        });
        let Some((alias, entry)) = alias else {
            return reply;
        };
        reply.add_answer(Record::from_rdata(
            name.clone(),
            entry.ttl,
            entry.data.clone(),
        ));
        if manner == Manner::OneByOne {
            return reply;
        }
        name = alias;
    }
}
