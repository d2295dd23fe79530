//! Rules about peers, addresses and sockets: what is read, what is refused, what holds where.

use super::*;
use std::net::IpAddr;

use ringfence::policy::{NetworkQuestion, Sni};
use ringfence::profile::{NetworkChoice, NetworkRight, NetworkRule};
use ringfence_abi::network::{ALLOW, DENY, ICMP, ICMP6, TCP, UDP};

fn network(lines: &str) -> String {
    format!("version = 1\n[network]\n{lines}\n")
}

fn reach(policy: &Policy, peer: &str) -> u8 {
    ask(policy, peer, false)
}

fn bind(policy: &Policy, peer: &str) -> u8 {
    ask(policy, peer, true)
}

/// `protocol host port`.
fn ask(policy: &Policy, peer: &str, listen: bool) -> u8 {
    let words: Vec<_> = peer.split(' ').collect();
    let protocol = match words[0] {
        "tcp" => TCP,
        "udp" => UDP,
        "icmp" => ICMP,
        "icmp6" => ICMP6,
        other => other.parse().unwrap(),
    };
    let port = words[2].parse().unwrap();
    policy
        .network
        .answer(&match (words[1].parse::<IpAddr>(), listen) {
            (Ok(address), false) => NetworkQuestion::Connect {
                address,
                protocol,
                port,
            },
            (Ok(address), true) => NetworkQuestion::Listen {
                address,
                protocol,
                port,
            },
            (Err(_), _) => NetworkQuestion::Name {
                name: words[1],
                protocol,
                port,
            },
        })
}

#[track_caller]
fn table(policy: &Policy, allowed: &[&str], denied: &[&str]) {
    for peer in allowed {
        assert_eq!(reach(policy, peer), ALLOW, "{peer}");
    }
    for peer in denied {
        assert_ne!(reach(policy, peer), ALLOW, "{peer}");
    }
}

#[test]
fn a_name_is_reached_on_its_ports_by_tcp_and_udp() {
    let policy = policy(&network("connect = [\"Example.COM.:22,443\"]"));
    table(
        &policy,
        &[
            "tcp example.com 443",
            "udp example.com 443",
            "tcp example.com 22",
        ],
        &[
            "tcp example.com 80",
            "tcp www.example.com 443",
            "icmp example.com 0",
            "132 example.com 443",
            "tcp 192.0.2.1 443",
        ],
    );
    assert!(policy.network.reaches && policy.network.names);
}

#[test]
fn wildcards_of_names_stop_at_labels() {
    let policy = policy(&network(
        "connect = [\"*.one.test:1\", \"**.many.test:2\", \"s3-*.x.test:3\", \"*:4\"]",
    ));
    table(
        &policy,
        &[
            "tcp a.one.test 1",
            "tcp many.test 2",
            "tcp a.b.many.test 2",
            "tcp s3-eu.x.test 3",
            "tcp anything 4",
            "tcp 192.0.2.1 4",
            "udp 2001:db8::1 4",
        ],
        &[
            "tcp one.test 1",
            "tcp a.b.one.test 1",
            "tcp xmany.test 2",
            "tcp s3.x.test 3",
            "tcp a.one.test 2",
            "icmp 192.0.2.1 0",
        ],
    );
}

#[test]
fn networks_and_ranges_of_ports_are_exact_at_their_ends() {
    let policy = policy(&network(
        "connect = [\"tcp://10.0.0.0/9:80-1030\", \"udp://[2001:db8::]/33:53\", \"icmp://192.0.2.1\", \"[::ffff:198.51.100.7]:9\"]",
    ));
    table(
        &policy,
        &[
            "tcp 10.0.0.0 80",
            "tcp 10.127.255.255 1030",
            "tcp ::ffff:10.1.2.3 256",
            "udp 2001:db8:7fff:ffff::1 53",
            "icmp 192.0.2.1 0",
            "tcp 198.51.100.7 9",
        ],
        &[
            "tcp 10.128.0.0 80",
            "tcp 9.255.255.255 80",
            "tcp 10.0.0.0 79",
            "tcp 10.0.0.0 1031",
            "udp 10.0.0.0 80",
            "udp 2001:db8:8000::1 53",
            "tcp 2001:db8::1 53",
            "icmp 192.0.2.2 0",
        ],
    );
    assert!(policy.network.reaches && !policy.network.names);
}

#[test]
fn every_address_of_ipv6_is_none_of_ipv4() {
    let policy = policy(&network(
        "connect = [\"[::]/0:1\", \"0.0.0.0/0:2\"]\ndeny = [\"[2000::]/3:1\"]",
    ));
    table(
        &policy,
        &[
            "tcp ::1 1",
            "tcp fd00::1 1",
            "tcp ::fffe:1.2.3.4 1",
            "tcp 1.2.3.4 2",
        ],
        &["tcp 1.2.3.4 1", "tcp ::1 2", "tcp 2001:db8::1 1"],
    );
}

#[test]
fn whoever_may_reach_a_host_may_look_up_which_of_its_addresses_is_near() {
    let policy = policy(&network(
        "connect = [\"tcp://192.0.2.0/24:443\"]\nlisten = [\"192.0.2.1:80\"]",
    ));
    table(
        &policy,
        &["udp 192.0.2.1 0"],
        &["tcp 192.0.2.1 0", "udp 192.0.3.1 0"],
    );
    assert_eq!(bind(&policy, "udp 192.0.2.1 0"), 0);
}

#[test]
fn a_deny_rule_beats_every_allow_rule_and_is_told_from_silence() {
    let policy = policy(&network(
        "connect = [\"*:*\"]\nlisten = [\":*\"]\ndeny = [\"169.254.0.0/16\", \"**.evil.test\", \"tcp://*:25\"]",
    ));
    for peer in [
        "tcp 169.254.169.254 80",
        "icmp 169.254.1.1 0",
        "tcp evil.test 443",
        "udp a.b.evil.test 1",
        "tcp 192.0.2.1 25",
        "tcp mail.test 25",
    ] {
        assert_eq!(reach(&policy, peer), DENY, "{peer}");
    }
    assert_eq!(bind(&policy, "tcp 169.254.1.1 80"), DENY);
    assert_eq!(bind(&policy, "tcp 0.0.0.0 25"), DENY);
    assert_eq!(reach(&policy, "udp 192.0.2.1 25"), ALLOW);
    assert_eq!(reach(&policy, "icmp 192.0.2.1 0"), 0);
    assert_eq!(policy.network.name_state("evil.test"), 0);
    assert_ne!(policy.network.name_state("mail.test"), 0);
}

#[test]
fn an_address_is_bound_only_where_listen_says_so() {
    let policy = policy(&network(
        "listen = [\"127.0.0.1:0\", \"tcp://:8080\", \"[::1]:53\"]",
    ));
    for peer in [
        "tcp 127.0.0.1 0",
        "tcp 0.0.0.0 8080",
        "tcp :: 8080",
        "udp ::1 53",
    ] {
        assert_eq!(bind(&policy, peer), ALLOW, "{peer}");
    }
    for peer in ["tcp 127.0.0.1 80", "udp 0.0.0.0 8080", "tcp :: 53"] {
        assert_eq!(bind(&policy, peer), 0, "{peer}");
    }
    assert_eq!(reach(&policy, "tcp 127.0.0.1 8080"), 0);
    assert!(policy.network.reaches && !policy.network.names);
}

#[test]
fn the_name_of_nobody_is_denied_and_no_other() {
    let policy = policy(&network(
        "unix = [\"@**\"]\ndeny = [{ address = \"@\", expected = true }]",
    ));
    let named = |name: &[u8]| policy.network.answer(&NetworkQuestion::Abstract(name));
    assert_eq!(named(b""), DENY);
    assert_eq!(named(b"x"), ALLOW);
    let socket = NetworkQuestion::Socket(b"/x");
    assert_eq!(policy.network.answer(&socket), 0);
}

#[test]
fn unix_sockets_are_path_patterns_and_abstract_names() {
    let policy = policy(&network(
        "unix = [\"/run/postgresql/.s.PGSQL.*\", \"${TMP}/**\", \"@/tmp/.X11-unix/X[0-9]\", \"@dbus-**\"]\n\
         deny = [\"${TMP}/secret\", \"@dbus-system\"]",
    ));
    let socket = |path: &str| {
        policy
            .network
            .answer(&NetworkQuestion::Socket(path.as_bytes()))
    };
    let named = |name: &[u8]| policy.network.answer(&NetworkQuestion::Abstract(name));
    assert_eq!(socket("/run/postgresql/.s.PGSQL.5432"), ALLOW);
    assert_eq!(socket("/run/postgresql/x"), 0);
    assert_eq!(socket("/tmp/run-1/a/b"), ALLOW);
    assert_eq!(socket("/tmp/run-1/secret"), DENY);
    assert_eq!(named(b"/tmp/.X11-unix/X0"), ALLOW);
    assert_eq!(named(b"tmp/.X11-unix/X0"), 0);
    assert_eq!(named(b"dbus-/a/b\0\xff"), ALLOW);
    assert_eq!(named(b"dbus-system"), DENY);
    assert_eq!(named(b"dbus"), 0);
    assert!(!policy.network.reaches && !policy.network.names);
}

#[test]
fn a_wrong_peer_is_refused_with_a_caret_below_it() {
    let error = refusal(&network(
        "connect = [\n  \"example.com:443\",\n  \"example.com:44x\",\n]",
    ));
    insta::assert_snapshot!(error, @r#"
    rule `example.com:44x`: `44x` is no port
     --> ci.toml:5:16
      |
    5 |   "example.com:44x",
      |                ^^^
      |
      = help: write numbers up to 65535, as in `22,443`, `80-90`, or `*`
    "#);
}

#[test]
fn every_wrong_rule_about_the_network_is_refused_with_a_way_out() {
    for (line, message, help) in [
        (
            "connect = [\"example.com\"]",
            "no port",
            "`example.com:443`",
        ),
        (
            "connect = [\"https://example.com/x\"]",
            "no protocol of a peer",
            "`example.com:443`",
        ),
        ("connect = [\"sctp://x:1\"]", "no protocol", "`tcp://`"),
        (
            "connect = [\"2001:db8::1:443\"]",
            "brackets",
            "[2001:db8::1]:443",
        ),
        ("connect = [\"[2001:db8::1:443\"]", "not closed", "`]`"),
        (
            "connect = [\"[fe80::1%eth0]:443\"]",
            "no IPv6",
            "without a zone",
        ),
        (
            "connect = [\"10.0.0.1/8:53\"]",
            "bits beyond",
            "`10.0.0.0/8`",
        ),
        ("connect = [\"10.0.0.0/33:53\"]", "no length", "`/32`"),
        ("connect = [\"10.0.0.256:53\"]", "no IPv4", "192.0.2.1"),
        ("connect = [\"10.0.0:53\"]", "no IPv4", "192.0.2.1"),
        (
            "connect = [\"example.com/x:443\"]",
            "no `/`",
            "example.com:443",
        ),
        ("connect = [\"x:0\"]", "port 0", "`*`"),
        ("connect = [\"x:90-80\"]", "backwards", "swap"),
        ("connect = [\"x:65536\"]", "no port", "65535"),
        ("connect = [\"x:+1\"]", "no port", "65535"),
        ("connect = [\":443\"]", "no host", "every host"),
        ("connect = [\"\"]", "empty", "example.com:443"),
        (
            "connect = [\"*.*:443\"]",
            "last label",
            "`*` for every host",
        ),
        ("connect = [\"a..b:443\"]", "empty", "host name"),
        ("connect = [\"a b:443\"]", "no host name", "host name"),
        ("connect = [\"icmp://x:1\"]", "no ports", "leave them out"),
        (
            "listen = [\"localhost:80\"]",
            "not at a name",
            "127.0.0.1:8080",
        ),
        ("listen = [\"127.0.0.1\"]", "no port", ":*"),
        ("unix = [\"run/x\"]", "absolute", "${CWD}/run/x"),
        ("unix = [\"@\"]", "name is empty", "`**`"),
        (
            "connect = [{ because = \"x\" }]",
            "no `address`",
            "address =",
        ),
        (
            "connect = [{ path = \"x:1\" }]",
            "unknown key `path`",
            "address",
        ),
        (
            "connect = \"x:1\"",
            "`connect` is a string",
            "list of peers",
        ),
        ("conect = [\"x:1\"]", "unknown key `conect`", "`connect`"),
        ("sni = \"strict\"", "\"strict\"", "\"required\""),
        ("mode = \"open\"", "\"open\"", "\"audit\""),
    ] {
        let error = refusal(&network(line));
        assert!(error.contains("ci.toml:3:"), "{line}\n{error}");
        assert!(error.contains(message), "{line}\n{error}");
        let way_out = error.split("help:").nth(1).unwrap_or_default();
        assert!(way_out.contains(help), "{line}\n{error}");
    }
}

#[test]
fn lists_add_up_over_profiles_and_the_later_mode_holds() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().join("base.toml");
    fs::write(
        &base,
        network(
            "mode = \"audit\"\nsni = \"required\"\nconnect = [\"a.test:1\"]\ndeny = [\"b.test\"]",
        ),
    )
    .unwrap();
    let own = directory.path().join("own.toml");
    fs::write(
        &own,
        "version = 1\nextends = [\"./base.toml\"]\n[network]\nmode = \"enforce\"\nconnect = [\"b.test:2\", \"c.test:3\"]\n",
    )
    .unwrap();
    let effective = load(&[own.into()], CommandLine::default()).unwrap();
    let policy = compile(&effective, &variables(), &no_links).unwrap().0;
    table(
        &policy,
        &["tcp a.test 1", "tcp c.test 3"],
        &["tcp b.test 2"],
    );
    assert_eq!(policy.network.mode, Mode::Enforce);
    assert_eq!(policy.network.sni, Sni::Required);
}

fn flags(rules: &[(NetworkRight, &str)], network: Option<NetworkChoice>) -> CommandLine {
    let rule = |(right, text): &(NetworkRight, &str)| {
        NetworkRule::from_command_line(*right, OsStr::new(text), Path::new("/work")).unwrap()
    };
    CommandLine {
        network,
        network_rules: rules.iter().map(rule).collect(),
        ..CommandLine::default()
    }
}

fn with_flags(text: &str, command_line: CommandLine) -> Policy {
    let effective = from_text("ci.toml", text.as_bytes(), false, command_line).unwrap();
    compile(&effective, &variables(), &no_links).unwrap().0
}

#[test]
fn flags_add_rules_and_take_the_whole_network() {
    let text = "version = 1\n[files]\nexec = [\"/usr/bin/git\"]\n[network]\nconnect = [\"a.test:1\"]\nunix = [\"/run/x\"]\n\
                [[program]]\npath = \"/usr/bin/git\"\nnetwork.connect = [\"g.test:1\"]\n";
    let policy = with_flags(
        text,
        flags(
            &[
                (NetworkRight::Connect, "b.test:2"),
                (NetworkRight::Deny, "a.test"),
                (NetworkRight::Unix, "sock"),
            ],
            None,
        ),
    );
    table(&policy, &["tcp b.test 2"], &["tcp a.test 1"]);
    let socket = |policy: &Policy, path: &str| {
        let question = NetworkQuestion::Socket(path.as_bytes());
        policy.network.answer(&question)
    };
    assert_eq!(socket(&policy, "/work/sock"), ALLOW);
    let none = with_flags(text, flags(&[], Some(NetworkChoice::None)));
    assert!(!none.network.reaches && !none.programs[0].network.reaches);
    assert_eq!(socket(&none, "/run/x"), ALLOW);
    let open = with_flags(text, flags(&[], Some(NetworkChoice::Open)));
    assert!(open.network.is_off());
}

#[test]
fn a_program_has_the_network_around_it_and_its_own() {
    let text = "version = 1\n[files]\nexec = [\"/usr/bin/*\"]\n[network]\nconnect = [\"a.test:1\"]\ndeny = [\"d.test\"]\n\
                [[program]]\npath = \"/usr/bin/git\"\nnetwork.connect = [\"g.test:1\", \"d.test:1\"]\n\
                [[program]]\npath = \"/usr/bin/cc\"\ninherit = false\nnetwork.unix = [\"/run/x\"]\n";
    let policy = policy(text);
    let name = |name, number: usize| {
        let question = NetworkQuestion::Name {
            name,
            protocol: TCP,
            port: 1,
        };
        policy.programs[number].network.answer(&question)
    };
    assert_eq!(name("a.test", 0), ALLOW);
    assert_eq!(name("g.test", 0), ALLOW);
    assert_eq!(name("d.test", 0), DENY);
    assert_eq!(name("a.test", 1), 0);
    assert_eq!(name("d.test", 1), DENY);
    assert_eq!(reach(&policy, "tcp g.test 1"), 0);
    assert!(!policy.programs[1].network.reaches);
}

#[test]
fn a_program_that_can_be_written_must_not_reach_more() {
    let text = |network: &str| {
        format!(
            "version = 1\n[files]\nwrite = [\"/work/**\"]\nexec = [\"/work/tool\"]\n[network]\nconnect = [\"*.a.test:1-9\"]\n\
             [[program]]\npath = \"/work/tool\"\n{network}\n"
        )
    };
    let refused = |network: &str| {
        let effective = read(&text(network)).unwrap();
        compile(&effective, &variables(), &no_links)
            .map_err(|error| error.to_string())
            .err()
    };
    assert_eq!(refused("network.connect = [\"b.a.test:2\"]"), None);
    assert_eq!(refused("network.deny = [\"b.a.test\"]"), None);
    for more in [
        "network.connect = [\"b.a.test:10\"]",
        "network.connect = [\"c.b.a.test:1\"]",
        "network.unix = [\"@x\"]",
        "network.listen = [\":0\"]",
        "network.mode = \"audit\"",
        "network.sni = \"off\"",
    ] {
        let error = refused(more).unwrap_or_else(|| panic!("{more} is not refused"));
        assert!(error.contains("would have its rights"), "{more}: {error}");
    }
}

#[test]
fn a_link_to_a_socket_is_followed_unless_the_profile_lets_it_be_made() {
    let look = |path: &[u8]| match path {
        b"/var/run" | b"/work/link" => Entry::Link(b"/run".to_vec()),
        b"/var" | b"/run" | b"/work" => Entry::Directory,
        _ => Entry::Missing,
    };
    let text = "version = 1\n[files]\nwrite = [\"/work/**\"]\n[network]\nunix = [\"/var/run/a.sock\", \"/work/link/b.sock\"]\n\
                deny = [\"/work/link/c.sock\"]\n";
    let policy = compile(&read(text).unwrap(), &variables(), &look)
        .unwrap()
        .0;
    let socket = |path: &[u8]| policy.network.answer(&NetworkQuestion::Socket(path));
    assert_eq!(socket(b"/run/a.sock"), ALLOW);
    assert_eq!(socket(b"/run/b.sock"), 0);
    assert_eq!(socket(b"/run/c.sock"), DENY);
}

#[test]
fn rules_about_the_network_survive_being_shown_written_and_read() {
    let text = "version = 1\nname = \"x\"\n[files]\nexec = [\"/usr/bin/git\"]\n[network]\nmode = \"audit\"\nsni = \"required\"\n\
                connect = [{ address = \"*.example.com:443\", because = \"c\" }, \"udp://[2001:db8::]/32:53\"]\n\
                listen = [\"tcp://:8080\"]\nunix = [\"${TMP}/x\", \"@a{b,c}\"]\ndeny = [{ address = \"10.0.0.0/8\", expected = true }]\n\
                [[program]]\npath = \"/usr/bin/git\"\nnetwork.sni = \"off\"\nnetwork.connect = [\"github.com:22\"]\n";
    let document = read(text).unwrap().to_document();
    let toml = toml::to_string(&document).unwrap();
    assert_eq!(read(&toml).unwrap().to_document(), document);
    let json = serde_json::to_vec(&document).unwrap();
    let from_json = from_text("ci.json", &json, true, CommandLine::default()).unwrap();
    assert_eq!(from_json.to_document(), document);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    fs::write(&path, text).unwrap();
    let request = Request {
        profiles: vec![path.into()],
        variables: variables(),
        ..Request::default()
    };
    let mut shown = Vec::new();
    show(request, false, &mut shown).unwrap();
    let shown = String::from_utf8(shown).unwrap();
    let again = policy(&shown);
    let before = policy(text);
    assert_eq!(again.network, before.network, "{shown}");
    assert_eq!(again.programs[0].network, before.programs[0].network);
    assert!(shown.contains("because = \"c\""), "{shown}");

    let mut out = Vec::new();
    schema(&mut out).unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let value: serde_json::Value = toml::from_str(text).unwrap();
    validator.validate(&value).unwrap();
    let wrong: serde_json::Value =
        toml::from_str(&network("connect = [{ address = \"x:1\", port = 3 }]")).unwrap();
    assert!(!validator.is_valid(&wrong));
}

#[test]
fn profile_test_answers_for_a_peer_and_names_the_rule() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.toml");
    let text = network(
        "connect = [{ address = \"*.example.com:443\", because = \"the registry\" }]\ndeny = [\"10.0.0.0/8\"]\nunix = [\"@x\"]",
    );
    fs::write(&path, text).unwrap();
    let ask = |question: Question| {
        let request = Request {
            profiles: vec![path.clone().into()],
            variables: variables(),
            ..Request::default()
        };
        let mut out = Vec::new();
        let allowed = test(request, &question, directory.path(), false, &mut out).unwrap();
        (allowed, String::from_utf8(out).unwrap())
    };
    let connect = |peer: &str| {
        ask(Question {
            connect: vec![peer.to_owned()],
            ..Question::default()
        })
    };
    let (allowed, text) = connect("WWW.Example.com:443");
    assert!(
        allowed && text.contains("p.toml:3:24") && text.contains("the registry"),
        "{text}"
    );
    let (allowed, text) = connect("udp://www.example.com:53");
    assert!(!allowed && text.contains("about other ports"), "{text}");
    assert!(
        text.contains("connect = [\"udp://www.example.com:53\"] in [network]"),
        "{text}"
    );
    let (allowed, text) = connect("a.b.example.com:443");
    assert!(
        !allowed && text.contains("`**.example.com` covers any number"),
        "{text}"
    );
    let (allowed, text) = connect("10.1.2.3:443");
    assert!(!allowed && text.contains("deny rule beats"), "{text}");
    let (allowed, text) = ask(Question {
        listen: vec!["[::1]:80".to_owned()],
        unix: vec!["@x".into()],
        ..Question::default()
    });
    assert!(!allowed && text.contains("allowed: unix @x"), "{text}");
    assert!(text.contains("--listen '[::1]:80'"), "{text}");
}

#[test]
fn shipped_groups_of_names_are_added_to_other_profiles() {
    let names = ["untrusted", "registry/npm", "github"].map(Into::into);
    let effective = load(&names, CommandLine::default()).unwrap();
    let policy = compile(&effective, &variables(), &no_links).unwrap().0;
    table(
        &policy,
        &["tcp registry.npmjs.org 443", "tcp github.com 22"],
        &[
            "tcp registry.npmjs.org 80",
            "tcp npmjs.org 443",
            "tcp evil.github.com 443",
            "tcp 169.254.169.254 80",
        ],
    );
    // A file of that name is never meant, wherever it runs.
    let extended = read("version = 1\nextends = [\"registry/pypi\"]\n").unwrap();
    assert_eq!(extended.lineage[0], "registry/pypi");
}
