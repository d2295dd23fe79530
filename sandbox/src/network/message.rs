//! DNS messages: what is asked, and what is answered. The format is the library's.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// Bytes of a UDP message that need no fragments on any path (DNS flag day 2020).
pub(super) const PAYLOAD: u16 = 1_232;

/// One question.
pub(super) struct Question {
    request: Message,
    query: Query,
    /// The name in lower case without a final dot, if it is one that a host can have.
    pub(super) name: Option<String>,
}

/// What is answered.
pub(super) enum Answer {
    Addresses(Vec<IpAddr>, u32),
    Names(Vec<String>, u32),
    Code(ResponseCode),
}

impl Question {
    /// The question in `bytes`.
    ///
    /// # Errors
    ///
    /// The whole answer to what is none; `None` if it deserves none.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Option<Vec<u8>>> {
        let Ok(request) = Message::from_vec(bytes) else {
            return Err(unreadable(bytes));
        };
        if request.metadata.message_type != MessageType::Query {
            return Err(None);
        }
        let refuse = |code| {
            let mut message = blank(&request.metadata, code);
            message.add_queries(request.queries.iter().cloned());
            message.edns = edns(&request);
            Err(message.to_vec().ok())
        };
        if request.metadata.op_code != OpCode::Query {
            return refuse(ResponseCode::NotImp);
        }
        let [query] = &request.queries[..] else {
            return refuse(ResponseCode::FormErr);
        };
        if request.version() > 0 {
            return refuse(ResponseCode::BADVERS);
        }
        if query.query_class() != DNSClass::IN {
            return refuse(ResponseCode::Refused);
        }
        let query = query.clone();
        let name = host_name(query.name());
        Ok(Self {
            request,
            query,
            name,
        })
    }

    pub(super) fn kind(&self) -> RecordType {
        self.query.query_type()
    }

    /// The name as it was asked for, whatever is in it.
    pub(super) fn shown(&self) -> String {
        let text = self.query.name().to_lowercase().to_ascii();
        text.trim_end_matches('.').escape_debug().to_string()
    }

    /// The address that a question for its name is about.
    pub(super) fn reverse(&self) -> Option<IpAddr> {
        let net = self.query.name().parse_arpa_name().ok()?;
        (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
    }

    /// The answer as bytes; over UDP no more than the asker takes.
    pub(super) fn respond(&self, answer: Answer, over_tcp: bool) -> Option<Vec<u8>> {
        let (code, data, ttl): (_, Vec<RData>, _) = match answer {
            Answer::Addresses(addresses, ttl) => {
                let data = addresses.into_iter().map(|address| match address {
                    IpAddr::V4(address) => RData::A(A(address)),
                    IpAddr::V6(address) => RData::AAAA(AAAA(address)),
                });
                (ResponseCode::NoError, data.collect(), ttl)
            }
            Answer::Names(names, ttl) => {
                let names = names.iter().filter_map(|name| Name::from_ascii(name).ok());
                let data = names.map(|mut name| {
                    name.set_fqdn(true);
                    RData::PTR(PTR(name))
                });
                (ResponseCode::NoError, data.collect(), ttl)
            }
            Answer::Code(code) => (code, Vec::new(), 0),
        };
        let mut message = blank(&self.request.metadata, code);
        // The spelling of the question is part of what some askers check.
        message.add_query(self.query.clone());
        let owner = self.query.name();
        message.add_answers(
            data.into_iter()
                .map(|data| Record::from_rdata(owner.clone(), ttl, data)),
        );
        message.edns = edns(&self.request);
        let bytes = message.to_vec().ok()?;
        let most = usize::from(self.request.max_payload().min(PAYLOAD));
        if over_tcp || bytes.len() <= most {
            return Some(bytes);
        }
        message.truncate().to_vec().ok()
    }
}

/// The answer to the message `bytes` where no name is allowed; `None` if it deserves none.
#[must_use]
pub fn refusal(bytes: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
    match Question::parse(bytes) {
        Ok(question) => question.respond(Answer::Code(ResponseCode::NXDomain), over_tcp),
        Err(refusal) => refusal,
    }
}

/// A name that a host can have: labels of letters, digits, hyphens and underscores. What has other bytes is in no rule, and a
/// dot inside a label would be taken for the end of one.
pub(super) fn host_name(name: &Name) -> Option<String> {
    let mut text = String::new();
    for label in name.iter() {
        if !text.is_empty() {
            text.push('.');
        }
        for &byte in label {
            if !byte.is_ascii_alphanumeric() && byte != b'-' && byte != b'_' {
                return None;
            }
            text.push(char::from(byte.to_ascii_lowercase()));
        }
    }
    (!text.is_empty()).then_some(text)
}

/// What extends the answer to `request`, if it was extended itself (RFC 6891, section 6.1.1).
fn edns(request: &Message) -> Option<Edns> {
    request.edns.as_ref().map(|_| {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        edns
    })
}

fn blank(request: &Metadata, code: ResponseCode) -> Message {
    let mut message = Message::response(request.id, request.op_code);
    message.metadata = Metadata::response_from_request(request);
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    message
}

/// What is no message gets an error if it has at least an identifier.
fn unreadable(bytes: &[u8]) -> Option<Vec<u8>> {
    // A response is answered by nobody: two servers would go on for ever.
    let is_query = bytes.get(2).is_some_and(|flags| flags & 0x80 == 0);
    let id = bytes.get(..2).filter(|_| bytes.len() >= 12 && is_query)?;
    let id = u16::from_be_bytes([id[0], id[1]]);
    Message::error_msg(id, OpCode::Query, ResponseCode::FormErr)
        .to_vec()
        .ok()
}
