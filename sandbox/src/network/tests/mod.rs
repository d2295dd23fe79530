//! The resolver against a name server of the tests' own, on loopback.

mod fixture;
mod server;

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use ringfence_abi::automaton::DEAD;
use ringfence_abi::network::STATES;

use super::upstream::{read_message, write_message};
use super::*;
use crate::policy::Mode;
use fixture::*;
use server::{Manner, Server, record};

#[test]
fn an_allowed_name_is_answered_once_its_address_is_open() {
    let policy = policy(&["a.test"], Mode::Enforce);
    let state = policy.name_state("a.test");
    let fixture = Fixture::new(
        vec![policy],
        &[
            "a.test A 1.1.1.1",
            "a.test A 1.1.1.2",
            "a.test AAAA 2606:4700::1",
        ],
    );
    assert_eq!(fixture.addresses("a.test"), ["1.1.1.1", "1.1.1.2"]);
    let reply = fixture.ask("A.Test", RecordType::AAAA);
    assert_eq!(addresses(&reply), ["2606:4700::1"]);
    assert_eq!(reply.queries[0].name().to_ascii(), "A.Test.");
    assert_eq!(reply.answers[0].ttl, 30);
    let opened = fixture.opened();
    assert_eq!(opened.len(), 3);
    assert_eq!(opened[0].address, "1.1.1.1".parse::<IpAddr>().unwrap());
    assert_eq!(opened[0].states[..2], [state, DEAD]);
    let lifetime = opened[0].lifetime.as_secs_f32().round();
    assert_eq!(lifetime, 360.0, "the shortest time and the grace");
    assert!(fixture.causes().is_empty());
    assert!(fixture.resolver.names(opened[0].address).contains("a.test"));
    fixture.resolver.stop();
}

#[test]
fn a_denied_name_is_told_and_nobody_else_is_asked() {
    let fixture = Fixture::new(
        vec![policy(&["a.test"], Mode::Enforce)],
        &["b.test A 1.1.1.1"],
    );
    for name in [
        "b.test",
        "a.test.search.test",
        "test",
        "xa.test",
        "a.test.",
        ".",
    ] {
        let expected = match name {
            "a.test." => continue,
            _ => ResponseCode::NXDomain,
        };
        assert_eq!(fixture.code(name), expected, "{name}");
    }
    let (events, _) = fixture.resolver.events();
    assert!(events.iter().all(|event| event.cause == QueryCause::Denied));
    assert_eq!(
        (events[0].name.as_str(), events[0].kind.as_str()),
        ("b.test", "A")
    );
    assert!(fixture.server.asked().is_empty());
    assert!(fixture.opened().is_empty());
}

#[test]
fn a_label_with_a_dot_in_it_is_not_two_labels() {
    let fixture = Fixture::new(vec![policy(&["a.test"], Mode::Enforce)], &[]);
    let name = Name::from_labels(vec![&b"a.test"[..]]).unwrap();
    let mut request = Message::query();
    request.add_query(Query::query(name, RecordType::A));
    let reply = by_udp(fixture.resolver.addresses()[0], &request);
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert!(fixture.server.asked().is_empty());
}

#[test]
fn aliases_are_followed_and_open_nothing_themselves() {
    for manner in [Manner::Recursive, Manner::OneByOne] {
        let records = [
            "a.test CNAME b.cdn.test",
            "b.cdn.test CNAME c.cdn.test",
            "c.cdn.test A 1.1.1.1",
        ];
        let fixture = Fixture::with(
            vec![policy(&["a.test"], Mode::Enforce)],
            &records,
            manner,
            "",
            Vec::new(),
        );
        let reply = fixture.ask("a.test", RecordType::A);
        assert_eq!(addresses(&reply), ["1.1.1.1"]);
        assert_eq!(reply.answers[0].name.to_ascii(), "a.test.");
        assert_eq!(fixture.code("c.cdn.test"), ResponseCode::NXDomain);
    }
}

#[test]
fn a_circle_of_aliases_is_given_up() {
    let records = ["a.test CNAME b.test", "b.test CNAME a.test"];
    let fixture = Fixture::with(
        vec![policy(&["a.test"], Mode::Enforce)],
        &records,
        Manner::OneByOne,
        "",
        Vec::new(),
    );
    assert_eq!(fixture.code("a.test"), ResponseCode::ServFail);
    assert!(
        matches!(&fixture.causes()[..], [QueryCause::Unanswered(why)] if why.contains("aliases"))
    );
}

#[test]
fn records_that_lead_past_the_resolver_are_not_there() {
    let fixture = Fixture::new(
        vec![policy(&["a.test"], Mode::Enforce)],
        &["a.test A 1.1.1.1"],
    );
    for kind in [
        RecordType::HTTPS,
        RecordType::SVCB,
        RecordType::TXT,
        RecordType::ANY,
        RecordType::MX,
        RecordType::SRV,
    ] {
        let reply = fixture.ask("a.test", kind);
        assert_eq!(
            reply.metadata.response_code,
            ResponseCode::NoError,
            "{kind}"
        );
        assert!(reply.answers.is_empty(), "{kind}");
    }
    assert!(fixture.server.asked().is_empty());
}

#[test]
fn an_address_inside_the_host_or_its_network_needs_a_rule_of_its_own() {
    let records = [
        "a.test A 10.0.0.1",
        "a.test A 1.1.1.1",
        "a.test A 10.0.0.2",
        "b.test A 169.254.169.254",
    ];
    let policy = with_ports(
        &[("a.test", 443), ("b.test", 443), ("10.0.0.2", 443)],
        Mode::Enforce,
    );
    let fixture = Fixture::new(vec![policy], &records);
    assert_eq!(fixture.addresses("a.test"), ["1.1.1.1", "10.0.0.2"]);
    assert!(fixture.addresses("b.test").is_empty());
    let inside = |text: &str| QueryCause::Inside(text.parse().unwrap());
    assert_eq!(
        fixture.causes(),
        [inside("10.0.0.1"), inside("169.254.169.254")]
    );
    // Rules about the address say on which ports.
    assert_eq!(fixture.opened().len(), 1);
}

#[test]
fn the_administrators_names_come_first_are_open_at_once_and_may_lie_inside() {
    let fixture = Fixture::with(
        vec![policy(&["db.test", "localhost"], Mode::Enforce)],
        &["db.test A 1.1.1.1"],
        Manner::default(),
        "10.0.0.7 db.test other.test\n",
        Vec::new(),
    );
    let open: Vec<_> = fixture
        .opened()
        .iter()
        .map(|one| one.address.to_string())
        .collect();
    assert_eq!(open, ["10.0.0.7", "127.0.0.1", "::1"]);
    assert_eq!(fixture.addresses("db.test"), ["10.0.0.7"]);
    assert!(addresses(&fixture.ask("db.test", RecordType::AAAA)).is_empty());
    assert_eq!(fixture.addresses("localhost"), ["127.0.0.1"]);
    assert_eq!(fixture.code("other.test"), ResponseCode::NXDomain);
    assert!(fixture.server.asked().is_empty());

    std::fs::write(fixture.hosts.path(), "10.0.0.8 db.test\n").unwrap();
    let moved = || {
        fixture
            .opened()
            .iter()
            .any(|one| one.address.to_string() == "10.0.0.8")
    };
    let end = Instant::now() + Duration::from_secs(20);
    while !moved() {
        assert!(Instant::now() < end, "the file is not read again");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(fixture.addresses("db.test"), ["10.0.0.8"]);
}

#[test]
fn each_policy_gets_what_its_own_rules_open() {
    let policies = vec![
        policy(&["a.test"], Mode::Enforce),
        policy(&["a.test", "b.test"], Mode::Enforce),
    ];
    let fixture = Fixture::new(policies, &["a.test A 1.1.1.1", "b.test A 1.1.1.2"]);
    fixture.addresses("a.test");
    fixture.addresses("b.test");
    let open: Vec<_> = fixture
        .opened()
        .iter()
        .map(|one| (one.policy, one.address.to_string()))
        .collect();
    let expected = [(0, "1.1.1.1"), (1, "1.1.1.1"), (1, "1.1.1.2")];
    assert_eq!(
        open,
        expected.map(|(number, address)| (number, address.to_owned()))
    );
}

#[test]
fn names_that_share_an_address_share_its_states_up_to_the_last_one() {
    let names: Vec<_> = (0..=STATES)
        .map(|number| format!("n{number}.test"))
        .collect();
    let ports: Vec<_> = names.iter().map(String::as_str).zip(1..).collect();
    let records: Vec<_> = names
        .iter()
        .map(|name| format!("{name} A 1.1.1.1"))
        .collect();
    let records: Vec<_> = records.iter().map(String::as_str).collect();
    let fixture = Fixture::new(vec![with_ports(&ports, Mode::Enforce)], &records);
    for name in &names[..STATES] {
        fixture.addresses(name);
    }
    assert!(!fixture.opened().last().unwrap().states.contains(&DEAD));
    assert_eq!(fixture.code(&names[STATES]), ResponseCode::ServFail);
    assert_eq!(
        fixture.causes(),
        [QueryCause::TooManyPorts("1.1.1.1".parse().unwrap())]
    );
    // The first ones still are.
    assert_eq!(fixture.addresses(&names[0]), ["1.1.1.1"]);
}

#[test]
fn in_audit_mode_every_name_is_resolved_and_told() {
    let fixture = Fixture::new(
        vec![policy(&["a.test"], Mode::Audit)],
        &["b.test A 10.0.0.1"],
    );
    assert_eq!(fixture.addresses("b.test"), ["10.0.0.1"]);
    assert_eq!(fixture.causes(), [QueryCause::Audited]);
    assert!(fixture.opened().is_empty());
    assert!(
        fixture
            .resolver
            .names("10.0.0.1".parse().unwrap())
            .contains("b.test")
    );
}

#[test]
fn a_reply_with_another_identifier_is_nobodys() {
    let fixture = Fixture::with(
        vec![policy(&["a.test"], Mode::Enforce)],
        &["a.test A 1.1.1.1"],
        Manner::Forged,
        "",
        Vec::new(),
    );
    assert_eq!(fixture.addresses("a.test"), ["1.1.1.1"]);
}

#[test]
fn what_fits_into_no_datagram_goes_by_tcp() {
    let records: Vec<_> = (1..=100)
        .map(|last| format!("a.test A 1.1.1.{last}"))
        .collect();
    let records: Vec<_> = records.iter().map(String::as_str).collect();
    let policies = vec![policy(&["a.test"], Mode::Enforce)];
    let fixture = Fixture::with(policies, &records, Manner::TcpOnly, "", Vec::new());
    let request = query("a.test", RecordType::A);
    let server = fixture.resolver.addresses()[0];
    let reply = by_udp(server, &request);
    assert!(reply.metadata.truncation && reply.answers.is_empty());
    let mut stream = TcpStream::connect(server).unwrap();
    for _ in 0..2 {
        write_message(&mut stream, &request.to_vec().unwrap()).unwrap();
        let reply = Message::from_vec(&read_message(&mut stream).unwrap()).unwrap();
        assert_eq!(reply.answers.len(), 100);
    }
}

#[test]
fn what_is_no_question_gets_an_error_and_a_reply_gets_nothing() {
    let fixture = Fixture::new(
        vec![policy(&["a.test"], Mode::Enforce)],
        &["a.test A 1.1.1.1"],
    );
    let server = fixture.resolver.addresses()[0];
    let code = |request: &Message| by_udp(server, request).metadata.response_code;
    let mut two = query("a.test", RecordType::A);
    two.add_query(Query::query(Name::root(), RecordType::A));
    assert_eq!(code(&two), ResponseCode::FormErr);
    let mut update = query("a.test", RecordType::A);
    update.metadata.op_code = OpCode::Notify;
    assert_eq!(code(&update), ResponseCode::NotImp);
    let mut newer = query("a.test", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    newer.set_edns(edns);
    // 16 has two names.
    assert_eq!(u16::from(code(&newer)), u16::from(ResponseCode::BADVERS));
    let garbage = exchange(server, &[7, 7, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 1]).unwrap();
    assert_eq!(garbage[..2], [7, 7]);
    let shared = &fixture.resolver.shared;
    assert_eq!(
        shared.respond(&[7, 7, 0x80, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0], false),
        None
    );
    assert_eq!(shared.respond(&[], false), None);
    assert!(fixture.server.asked().is_empty());
}

#[test]
fn a_server_that_does_not_answer_is_told() {
    let policies = vec![policy(&["a.test"], Mode::Enforce)];
    let fixture = Fixture::with(policies, &[], Manner::Refusing, "", Vec::new());
    assert_eq!(fixture.code("a.test"), ResponseCode::ServFail);
    assert!(matches!(&fixture.causes()[..], [QueryCause::Unanswered(_)]));
    assert_eq!(fixture.server.asked().len(), 2);
}

#[test]
fn an_address_is_told_its_name_only_while_it_is_open() {
    let fixture = Fixture::new(
        vec![policy(&["a.test"], Mode::Enforce)],
        &["a.test A 1.1.1.1"],
    );
    let reverse = || fixture.ask("1.1.1.1.in-addr.arpa", RecordType::PTR);
    assert_eq!(reverse().metadata.response_code, ResponseCode::NXDomain);
    fixture.addresses("a.test");
    assert_eq!(reverse().answers.len(), 1);
}

#[test]
fn queries_and_names_under_a_wildcard_have_an_end() {
    let wildcard = crate::profile::NetworkRule::from_command_line(
        crate::profile::NetworkRight::Connect,
        OsStr::new("*.a.test:443"),
        Path::new("/"),
    )
    .unwrap();
    let crate::profile::About::Peer(crate::profile::Peer {
        host: crate::profile::Host::Name(pattern),
        ..
    }) = wildcard.about
    else {
        panic!("no name");
    };
    let mut budget = Budget::new(vec![pattern], Instant::now());
    for number in 0..budget::NAMES_PER_WILDCARD {
        assert_eq!(budget.take_name(&format!("x{number}.a.test")), Ok(()));
    }
    assert_eq!(budget.take_name("y.a.test"), Err("*.a.test".to_owned()));
    assert_eq!(budget.take_name("x1.a.test"), Ok(()));
    assert_eq!(budget.take_name("b.test"), Ok(()));

    let now = Instant::now();
    let mut taken = 0;
    while budget.take_query(now) {
        taken += 1;
    }
    assert_eq!(taken, 500);
    assert!(budget.take_query(now + Duration::from_secs(1)));
}

#[test]
fn what_has_expired_is_closed_where_something_else_stays_open() {
    let opened: Arc<Mutex<Vec<Opened>>> = Arc::default();
    let kept = Arc::clone(&opened);
    let mut grants = Grants::new(Box::new(move |one| {
        kept.lock().unwrap().push(*one);
        Ok(())
    }));
    let start = Instant::now();
    let address: IpAddr = "1.1.1.1".parse().unwrap();
    grants
        .open(0, address, 5, Duration::from_secs(1), start)
        .unwrap();
    grants
        .open(0, address, 6, Duration::from_secs(1_000), start)
        .unwrap();
    grants.sweep(start + Duration::from_secs(359));
    assert_eq!(opened.lock().unwrap().len(), 2);
    grants.sweep(start + Duration::from_secs(361));
    let last = *opened.lock().unwrap().last().unwrap();
    assert_eq!(last.states[..2], [6, DEAD]);
    assert_eq!(last.lifetime, Duration::from_secs(1_300 - 361));
    grants.sweep(start + Duration::from_secs(2_000));
    let last = *opened.lock().unwrap().last().unwrap();
    assert_eq!(
        (last.states, last.lifetime),
        ([DEAD; STATES], Duration::ZERO)
    );
    assert!(!grants.is_open(address));
}

#[test]
fn an_address_that_cannot_be_opened_is_not_answered() {
    let server = Server::start(vec![record("a.test A 1.1.1.1")], Manner::default());
    let settings = Settings {
        policies: vec![policy(&["a.test"], Mode::Enforce)],
        wildcards: Vec::new(),
        hosts: "/nowhere".into(),
        upstream: Upstream::Servers(vec![server.address]),
    };
    let grant: Grant = Box::new(|_| Err("no room".to_owned()));
    let resolver = Resolver::start(Sockets::on_loopback().unwrap(), settings, grant).unwrap();
    let reply = by_udp(resolver.addresses()[0], &query("a.test", RecordType::A));
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert!(reply.answers.is_empty());
    let (events, _) = resolver.events();
    assert_eq!(events[0].cause, QueryCause::NotOpened("no room".to_owned()));
}

#[test]
fn every_socket_answers_and_stopping_ends_every_thread() {
    let fixture = Fixture::new(
        vec![policy(&["a.test"], Mode::Enforce)],
        &["a.test A 1.1.1.1"],
    );
    let ports: Vec<_> = fixture
        .resolver
        .addresses()
        .iter()
        .map(SocketAddr::port)
        .collect();
    assert!(ports.iter().all(|port| *port == ports[0]));
    let begun = Instant::now();
    fixture.resolver.stop();
    assert!(begun.elapsed() < Duration::from_secs(5));
}
