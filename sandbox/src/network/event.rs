//! What the resolver has to tell: names that were not resolved, and addresses that were left out.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;

/// Most events that wait to be taken.
const MOST: usize = 4_096;

/// Something about one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryEvent {
    /// The name that was asked for, in lower case; control characters and the like are escaped.
    pub name: String,
    /// The type of record, as in `AAAA`.
    pub kind: String,
    /// What was the matter.
    pub cause: QueryCause,
}

/// What was the matter with a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryCause {
    /// No rule allows the name.
    Denied,
    /// No rule allows the name, and it was resolved all the same: the section is in audit mode.
    Audited,
    /// It leads to an address inside the host or its network, which no rule allows by its number.
    Inside(IpAddr),
    /// Names with more different sets of ports than can be told apart lead to the address.
    TooManyPorts(IpAddr),
    /// More addresses are open than the fence has room for.
    TooManyAddresses(IpAddr),
    /// The way to the address could not be opened.
    NotOpened(String),
    /// More queries in a short time than the resolver answers.
    TooManyQueries,
    /// More names under one wildcard than the resolver answers: names can carry data out.
    TooManyNames(String),
    /// No server answered.
    Unanswered(String),
}

/// Events that wait to be taken.
pub(super) struct Events {
    waiting: VecDeque<QueryEvent>,
    lost: u64,
    bell: UnixStream,
}

impl Events {
    pub(super) fn new(bell: UnixStream) -> Self {
        Self {
            waiting: VecDeque::new(),
            lost: 0,
            bell,
        }
    }

    pub(super) fn add(&mut self, event: QueryEvent) {
        if self.waiting.len() == MOST {
            self.lost += 1;
            return;
        }
        self.waiting.push_back(event);
        // Where it is full it is readable already.
        self.bell.write_all(&[0]).ok();
    }

    pub(super) fn take(&mut self) -> (Vec<QueryEvent>, u64) {
        let waiting = std::mem::take(&mut self.waiting);
        (waiting.into(), std::mem::take(&mut self.lost))
    }
}

/// Makes the other end unreadable until the next event.
pub(super) fn silence(mut bell: &UnixStream) {
    let mut rung = [0; 512];
    while matches!(bell.read(&mut rung), Ok(count) if count == rung.len()) {}
}
