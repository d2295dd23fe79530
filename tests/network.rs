//! The automaton of the network against its rules asked one by one, on random rules and questions.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use proptest::prelude::*;
use ringfence::compile::{Entry, Explainer, compile};
use ringfence::policy::{NetworkQuestion, Policy};
use ringfence::profile::{CommandLine, NetworkRight, NetworkRule, Variables, from_text};
use ringfence_abi::network::{ALLOW, ICMP, ICMP6, TCP, UDP};

fn no_links(_: &[u8]) -> Entry {
    Entry::Missing
}

fn compiled(rules: &[(NetworkRight, String)]) -> (Policy, Explainer) {
    let rule = |(right, text): &(NetworkRight, String)| {
        NetworkRule::from_command_line(*right, OsStr::new(text), Path::new("/"))
            .unwrap_or_else(|error| panic!("{error}"))
    };
    let command_line = CommandLine {
        network_rules: rules.iter().map(rule).collect(),
        ..CommandLine::default()
    };
    let base = b"version = 1\n[network]\nmode = \"enforce\"\n";
    let effective = from_text("test", base, false, command_line).unwrap();
    compile(&effective, &Variables::new(), &no_links).unwrap()
}

fn name_pattern() -> impl Strategy<Value = String> {
    let label = prop_oneof![4 => "[ab]{1,2}", 1 => Just("*".to_owned()), 1 => "[ab]?\\*[ab]?"];
    let first = prop_oneof![3 => Just(""), 1 => Just("**."), 1 => Just("*.")];
    (first, prop::collection::vec(label, 0..3), "[abc]").prop_map(|(first, labels, last)| {
        format!("{first}{}", [labels, vec![last]].concat().join("."))
    })
}

/// Few bits differ, so that networks and addresses meet.
fn address4() -> impl Strategy<Value = Ipv4Addr> {
    (any::<u8>(), any::<u8>(), 0..4u8).prop_map(|(a, b, near)| match near {
        0 => Ipv4Addr::new(a, b, a, b),
        _ => Ipv4Addr::new(10, a & 3, 0, b & 15),
    })
}

fn address6() -> impl Strategy<Value = Ipv6Addr> {
    (any::<u16>(), any::<u16>(), 0..4u8).prop_map(|(a, b, near)| match near {
        0 => Ipv6Addr::new(a, b, 0, 0, 0, 0, a, b),
        1 => Ipv6Addr::new(0, 0, 0, 0, a & 1, 0xffff, 0x0a00 | (b & 3), a & 15),
        _ => Ipv6Addr::new(0x2001, 0xdb8 | (a & 3), 0, 0, 0, 0, 0, b & 15),
    })
}

fn network4() -> impl Strategy<Value = String> {
    (address4(), 0..=32u8).prop_map(|(address, length)| {
        let net = ipnet::Ipv4Net::new(address, length).unwrap().trunc();
        net.to_string()
    })
}

fn network6() -> impl Strategy<Value = String> {
    (address6(), 0..=128u8).prop_map(|(address, length)| {
        let net = ipnet::Ipv6Net::new(address, length).unwrap().trunc();
        format!("[{}]/{length}", net.addr())
    })
}

fn ports() -> impl Strategy<Value = String> {
    let port = prop_oneof![2 => 1..20u16, 1 => 250..270u16, 1 => 1..=u16::MAX];
    let range = (port.clone(), port.clone())
        .prop_map(|(one, other)| format!("{}-{}", one.min(other), one.max(other)));
    let item = prop_oneof![2 => port.prop_map(|port| port.to_string()), 1 => range];
    prop_oneof![
        4 => prop::collection::vec(item, 1..3).prop_map(|items| items.join(",")),
        1 => Just("*".to_owned()),
    ]
}

fn peer(names: bool) -> impl Strategy<Value = String> {
    let host = if names {
        prop_oneof![
            4 => name_pattern(),
            2 => network4(),
            2 => network6(),
            1 => Just("*".to_owned()),
        ]
        .boxed()
    } else {
        prop_oneof![2 => network4(), 2 => network6(), 1 => Just(String::new())].boxed()
    };
    let transport = prop_oneof![3 => Just(""), 1 => Just("tcp://"), 1 => Just("udp://")];
    (transport, host, ports())
        .prop_map(|(transport, host, ports)| format!("{transport}{host}:{ports}"))
}

fn denied() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => peer(true),
        1 => name_pattern(),
        1 => network4(),
        1 => network6().prop_map(|net| format!("icmp://{net}")),
        1 => "@[ab]\\*[ab]",
        1 => "/[ab]/\\*\\*",
    ]
}

fn rule() -> impl Strategy<Value = (NetworkRight, String)> {
    prop_oneof![
        6 => peer(true).prop_map(|text| (NetworkRight::Connect, text)),
        1 => name_pattern().prop_map(|name| (NetworkRight::Connect, format!("icmp://{name}"))),
        2 => peer(false).prop_map(|text| (NetworkRight::Listen, text)),
        1 => "(/[ab]\\*?){1,3}".prop_map(|text| (NetworkRight::Unix, text)),
        1 => "@([ab/*?]|\\*\\*a){1,4}".prop_map(|text| (NetworkRight::Unix, text.replace("***", "*"))),
        3 => denied().prop_map(|text| (NetworkRight::Deny, text)),
    ]
    // Three stars in a row are no pattern.
    .prop_filter("stars", |(_, text)| !text.contains("***"))
}

#[derive(Clone, Debug)]
enum Asked {
    Connect(IpAddr, u8, u16),
    Listen(IpAddr, u8, u16),
    Name(String, u8, u16),
    Socket(String),
    Abstract(Vec<u8>),
}

impl Asked {
    fn question(&self) -> NetworkQuestion<'_> {
        match self {
            Self::Connect(address, protocol, port) => NetworkQuestion::Connect {
                address: *address,
                protocol: *protocol,
                port: *port,
            },
            Self::Listen(address, protocol, port) => NetworkQuestion::Listen {
                address: *address,
                protocol: *protocol,
                port: *port,
            },
            Self::Name(name, protocol, port) => NetworkQuestion::Name {
                name,
                protocol: *protocol,
                port: *port,
            },
            Self::Socket(path) => NetworkQuestion::Socket(path.as_bytes()),
            Self::Abstract(name) => NetworkQuestion::Abstract(name),
        }
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    let protocol = prop_oneof![
        3 => Just(TCP), 3 => Just(UDP), 1 => Just(ICMP), 1 => Just(ICMP6), 1 => any::<u8>()
    ];
    let port = prop_oneof![3 => 0..20u16, 1 => 250..270u16, 1 => any::<u16>()];
    let address = prop_oneof![
        address4().prop_map(IpAddr::V4),
        address6().prop_map(IpAddr::V6)
    ];
    let tail = (address, protocol, port);
    let name = "[ab]{1,2}(\\.[ab]{1,2}){0,3}(\\.[abc])?";
    prop_oneof![
        4 => tail.clone().prop_map(|(a, protocol, port)| Asked::Connect(a, protocol, port)),
        2 => tail.clone().prop_map(|(a, protocol, port)| Asked::Listen(a, protocol, port)),
        6 => (name, tail).prop_map(|(name, (_, protocol, port))| Asked::Name(name, protocol, port)),
        1 => "(/[ab]{1,2}){1,3}".prop_map(Asked::Socket),
        1 => prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'/'), Just(0)], 0..5)
            .prop_map(Asked::Abstract),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, max_shrink_iters: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// 1,500 sets of rules with 64 questions each.
    #[test]
    fn the_automaton_answers_what_the_rules_answer_one_by_one(
        rules in prop::collection::vec(rule(), 0..10),
        questions in prop::collection::vec(asked(), 64),
    ) {
        let (policy, explainer) = compiled(&rules);
        for asked in &questions {
            let question = asked.question();
            let answer = policy.network.answer(&question);
            prop_assert_eq!(answer, explainer.network_answer(0, &question), "{:?}", asked);
            let explained = explainer.explain_network(0, &question);
            prop_assert_eq!(explained.allowed, answer == ALLOW, "{:?}", asked);
            if let NetworkQuestion::Name { name, .. } = question && answer == ALLOW {
                prop_assert_ne!(policy.network.name_state(name), 0, "{:?}", asked);
                prop_assert!(policy.network.names);
            }
            if let NetworkQuestion::Connect { address, .. } = question && answer == ALLOW {
                prop_assert!(policy.network.reaches_address(address), "{:?}", asked);
            }
        }
    }

    /// What is denied more is allowed less, and what adding a rule allows is what the difference tells.
    #[test]
    fn a_difference_of_networks_is_that_of_their_questions(
        rules in prop::collection::vec(rule(), 0..6),
        more in prop::collection::vec(rule(), 0..3),
        questions in prop::collection::vec(asked(), 64),
    ) {
        let (one, _) = compiled(&rules);
        let (other, _) = compiled(&[rules, more].concat());
        let difference = other.network.automaton.network_difference(&one.network.automaton);
        for asked in &questions {
            let question = asked.question();
            let (before, after) = (one.network.answer(&question), other.network.answer(&question));
            prop_assert_eq!(after & !before & !difference.more, 0, "{:?}", asked);
            prop_assert_eq!(before & !after & !difference.less, 0, "{:?}", asked);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever sees ports alone sees every one that is open to somebody, and knows where not everybody has it.
    #[test]
    fn ports_alone_are_those_of_the_answers(
        rules in prop::collection::vec(rule(), 0..6),
        questions in prop::collection::vec(asked(), 64),
    ) {
        let (policy, _) = compiled(&rules);
        let view = policy.network.ports();
        for asked in &questions {
            let question = asked.question();
            let open = policy.network.answer(&question) == ALLOW;
            let (ports, port) = match *asked {
                Asked::Connect(_, TCP, port) | Asked::Name(_, TCP, port) => (&view.connect, port),
                Asked::Listen(_, TCP, port) => (&view.listen, port),
                Asked::Connect(_, UDP, port) | Asked::Name(_, UDP, port) if open && port != 0 => {
                    prop_assert!(view.datagrams);
                    prop_assert!(view.datagrams_alone.is_some() || view.connect.contains(port));
                    continue;
                }
                Asked::Listen(_, UDP, port) if open => {
                    prop_assert!(view.datagrams);
                    prop_assert!(view.datagrams_alone.is_some() || view.listen.contains(port));
                    continue;
                }
                Asked::Connect(_, ICMP | ICMP6, _) | Asked::Name(_, ICMP | ICMP6, _) if open => {
                    prop_assert!(view.echo);
                    continue;
                }
                _ => continue,
            };
            prop_assert!(!open || ports.contains(port), "{:?}", asked);
            let is_open_to_all = ports.contains(port) && ports.narrower.is_none();
            if is_open_to_all && !matches!(asked, Asked::Name(..)) {
                prop_assert!(open, "{:?}", asked);
            }
        }
    }
}

#[test]
fn a_port_is_open_to_everybody_by_a_rule_about_every_address_alone() {
    use NetworkRight::{Connect, Deny, Listen};
    let view = |rules: &[(NetworkRight, &str)]| {
        let rules: Vec<_> = rules
            .iter()
            .map(|(right, text)| (*right, (*text).to_owned()))
            .collect();
        compiled(&rules).0.network.ports()
    };
    let every = view(&[
        (Connect, "tcp://*:443"),
        (Connect, "web.test:443"),
        (Listen, "tcp://:0,80"),
    ]);
    assert_eq!(
        (&every.connect.ports[..], every.connect.narrower),
        (&[443][..], None)
    );
    assert_eq!(
        (&every.listen.ports[..], every.listen.narrower),
        (&[0, 80][..], None)
    );
    assert_eq!((every.datagrams, every.datagrams_alone), (true, None));
    // Both families are every address.
    let halves = view(&[
        (Connect, "tcp://0.0.0.0/0:22"),
        (Connect, "tcp://[::]/0:22"),
    ]);
    assert_eq!(
        (&halves.connect.ports[..], halves.connect.narrower),
        (&[22][..], None)
    );
    for narrower in [
        &[(Connect, "tcp://0.0.0.0/0:22")][..],
        &[(Connect, "tcp://web.test:22")],
        &[(Connect, "tcp://*:22"), (Deny, "169.254.0.0/16")],
    ] {
        let view = view(narrower);
        assert_eq!(
            (&view.connect.ports[..], view.connect.narrower),
            (&[22][..], Some(22))
        );
    }
    assert_eq!(view(&[(Connect, "udp://*:53")]).datagrams_alone, Some(53));
    assert_eq!(
        view(&[(Listen, "udp://:53"), (Connect, "*:53")]).datagrams_alone,
        Some(53)
    );
    assert!(!view(&[(Connect, "udp://web.test:0")]).datagrams);
    assert!(view(&[(Connect, "icmp://*")]).echo);
    assert!(view(&[(Connect, "*:*")]).connect.is_every());
    assert!(!view(&[(Connect, "*:*"), (Deny, "*:25")]).connect.is_every());
}

#[test]
fn a_thousand_names_stay_small() {
    let rules: Vec<_> = (0..1_000)
        .map(|number| {
            let text = match number % 3 {
                0 => format!("host-{number}.example-{}.test:443", number % 37),
                1 => format!("*.cdn-{number}.test:443"),
                _ => format!("**.zone-{number}.test:80,443"),
            };
            (NetworkRight::Connect, text)
        })
        .collect();
    let (policy, explainer) = compiled(&rules);
    let words = policy.network.automaton.words.len();
    assert!(words < 60_000, "{words}");
    for name in [
        "a.cdn-1.test",
        "x.y.zone-2.test",
        "host-3.example-3.test",
        "zone-2.test",
        "cdn-1.test",
    ] {
        let question = NetworkQuestion::Name {
            name,
            protocol: TCP,
            port: 443,
        };
        let answer = policy.network.answer(&question);
        assert_eq!(answer, explainer.network_answer(0, &question), "{name}");
        assert_eq!(answer == ALLOW, name != "cdn-1.test", "{name}");
    }
}
