//! Rules about names of hosts, with real programs: each test has a network of its own, with a name server, a web server and an
//! `/etc/resolv.conf` that nobody outside of it sees.

use std::fs;

use crate::kit::{Need, Network, PYTHON, Suite, Verdict};

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Program("unshare"),
    Need::Program("ip"),
    Need::Program("curl"),
];

const NEEDS_DEPUTIES: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Program("unshare"),
    Need::Program("ip"),
    Need::Program("getent"),
];

/// Where the filter alone closes sockets.
const NEEDS_FILTER: &[Need] = &[
    Need::Root,
    Need::NoBpfLsm,
    Need::Cgroup,
    Need::Program("unshare"),
    Need::Program("ip"),
];

const NEEDS_GIT: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Processor,
    Need::Program("unshare"),
    Need::Program("ip"),
    Need::Program("git"),
];

/// What this subject promises.
pub(crate) fn register(suite: &mut Suite) {
    for (name, body) in [
        (
            "resolver::an_allowed_name_is_reached_on_its_port_alone",
            an_allowed_name_is_reached_on_its_port_alone as fn() -> Verdict,
        ),
        (
            "resolver::a_denied_name_is_asked_of_nobody",
            a_denied_name_is_asked_of_nobody,
        ),
        (
            "resolver::an_address_is_open_only_by_the_name_that_led_there",
            an_address_is_open_only_by_the_name_that_led_there,
        ),
        (
            "resolver::a_name_does_not_lead_inside",
            a_name_does_not_lead_inside,
        ),
        (
            "resolver::the_hosts_file_says_what_may_lie_inside",
            the_hosts_file_says_what_may_lie_inside,
        ),
        (
            "resolver::a_deny_rule_about_addresses_beats_the_name",
            a_deny_rule_about_addresses_beats_the_name,
        ),
        (
            "resolver::programs_find_their_peers_by_name",
            programs_find_their_peers_by_name,
        ),
        ("resolver::traffic_is_told_by_name", traffic_is_told_by_name),
    ] {
        suite.test(name, NEEDS, body);
    }
    suite.test(
        "resolver::services_that_look_up_names_are_not_asked",
        NEEDS_DEPUTIES,
        services_that_look_up_names_are_not_asked,
    );
    suite.test(
        "resolver::a_socket_that_is_closed_is_told_with_what_opens_it",
        NEEDS_FILTER,
        a_socket_that_is_closed_is_told_with_what_opens_it,
    );
    suite.test(
        "resolver::git_and_pip_find_their_peers_by_name",
        NEEDS_GIT,
        git_and_pip_find_their_peers_by_name,
    );
    suite.test(
        "resolver::apt_finds_its_mirror_by_name",
        NEEDS_APT,
        apt_finds_its_mirror_by_name,
    );
    suite.test(
        "resolver::npm_finds_its_registry_by_name",
        NEEDS_NPM,
        npm_finds_its_registry_by_name,
    );
    suite.test(
        "resolver::a_shared_address_is_open_for_the_allowed_name_alone",
        NEEDS_TLS,
        a_shared_address_is_open_for_the_allowed_name_alone,
    );
}

const NEEDS_APT: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Program("unshare"),
    Need::Program("ip"),
    Need::Program("apt-get"),
];

/// An emulated processor needs minutes for node: the host is enough.
const NEEDS_NPM: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Processor,
    Need::Program("unshare"),
    Need::Program("ip"),
    Need::Program("npm"),
];

/// Handshakes and certificates take minutes on an emulated processor; `network::hooks` has the same there without TLS.
const NEEDS_TLS: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Processor,
    Need::Program("unshare"),
    Need::Program("ip"),
    Need::Program("curl"),
    Need::Program("openssl"),
];

fn curl(url: &str) -> [&str; 6] {
    ["curl", "-sS", "-m", "60", "--", url]
}

fn an_allowed_name_is_reached_on_its_port_alone() -> Verdict {
    let network = Network::new()?;
    let url = "http://web.test:8080/hello";
    for options in [
        ["--connect", "web.test:8080"],
        ["--connect", "*.test:80,8080"],
        ["--connect", "*:8080"],
    ] {
        network
            .fenced(&options, &curl(url))?
            .claim(true, &["hello from outside"])?;
    }
    network
        .fenced(&["--connect", "web.test:8081"], &curl(url))?
        .claim(
            false,
            &[
                "denied connect web.test (tcp 93.184.215.80:8080)",
                "--connect web.test:8080",
            ],
        )
}

fn a_denied_name_is_asked_of_nobody() -> Verdict {
    let network = Network::new()?;
    network.unfenced(&curl("http://other.test:8080/hello"))?;
    network
        .fenced(
            &["--connect", "web.test:8080"],
            &curl("http://other.test:8080/hello"),
        )?
        .claim(
            false,
            &["denied resolve other.test", "--connect other.test:443"],
        )?;
    let asked = network.asked()?;
    match asked.contains("other.test") {
        true => Err(format!("the server was asked: {asked}").into()),
        false => Ok(()),
    }
}

/// They would resolve any name, and in the name of somebody outside: the C library's cache, which it asks by itself, and
/// systemd's resolver.
fn services_that_look_up_names_are_not_asked() -> Verdict {
    let network = Network {
        // A `/run` in which they are, and where the fence finds what it keeps of its own.
        besides: "mkdir -p run; mount --rbind /run run; mount -t tmpfs -o mode=755 none /run\n\
                  if [ -d run/ringfence ]; then mkdir -m 700 /run/ringfence; mount --rbind run/ringfence /run/ringfence; fi\n\
                  mkdir -p /run/nscd /run/systemd/resolve",
        ..Network::new()?
    };
    let asks_cache = ["getent", "ahostsv4", "web.test"];
    let asks_service = "import socket\n\
                        service = socket.socket(socket.AF_UNIX)\n\
                        service.connect('/run/systemd/resolve/io.systemd.Resolve')\n\
                        service.recv(1)";
    let asks_service = [PYTHON, "-I", "-c", asks_service];
    let called = || fs::read_to_string(network.folder.at("out/called"));
    network.unfenced(&asks_cache)?;
    let mut without = called()?;
    network.unfenced(&asks_service)?;
    without += &called()?;
    if !without.contains("getent /run/nscd") || !without.contains("python3 /run/systemd") {
        return Err(format!("without a fence only these were asked: {without:?}").into());
    }
    let rule = ["--connect", "web.test:8080"];
    network
        .fenced(&rule, &asks_cache)?
        .claim(true, &["93.184.215.80"])?;
    let mut inside = called()?;
    network.fenced(&rule, &asks_service)?.claim(false, &[])?;
    inside += &called()?;
    // The supervisor, outside, looks up users, which the C library asks the same cache.
    let others = inside.lines().any(|line| !line.starts_with("ringfence "));
    match others {
        false => Ok(()),
        true => Err(format!("asked from inside: {inside}").into()),
    }
}

fn an_address_is_open_only_by_the_name_that_led_there() -> Verdict {
    let network = Network::new()?;
    let url = "http://93.184.215.80:8080/hello";
    network.unfenced(&curl(url))?;
    network
        .fenced(&["--connect", "web.test:8080"], &curl(url))?
        .claim(false, &["denied connect tcp 93.184.215.80:8080"])?;
    // Another name that leads to the same address, once it has been looked up.
    let script = "curl -sS -m 60 http://web.test:8080/hello && curl -sS -m 60 http://93.184.215.80:8080/hello && \
                  ! curl -sS -m 60 http://93.184.215.81:8080/hello";
    network
        .fenced(&["--connect", "web.test:8080"], &["sh", "-c", script])?
        .claim(true, &["denied connect tcp 93.184.215.81:8080"])
}

fn a_name_does_not_lead_inside() -> Verdict {
    let network = Network::new()?;
    let url = "http://inside.test:8080/hello";
    network.unfenced(&curl(url))?;
    network
        .fenced(&["--connect", "inside.test:8080"], &curl(url))?
        .claim(
            false,
            &["denied resolve inside.test", "127.0.0.1, which lies inside"],
        )?;
    network
        .fenced(
            &[
                "--connect",
                "inside.test:8080",
                "--connect",
                "127.0.0.1:8080",
            ],
            &curl(url),
        )?
        .claim(true, &["hello from outside"])?;
    // The metadata service of a cloud, by a name and by its address.
    for (host, said) in [
        ("metadata.test", "169.254.169.254, which lies inside"),
        ("169.254.169.254", "denied connect tcp 169.254.169.254:8080"),
    ] {
        let url = format!("http://{host}:8080/hello");
        network.unfenced(&curl(&url))?;
        network
            .fenced(&["--connect", "*.test:8080"], &curl(&url))?
            .claim(false, &[said])?;
    }
    // What else the name leads to is of use.
    network
        .fenced(
            &["--connect", "both.test:8080"],
            &curl("http://both.test:8080/hello"),
        )?
        .claim(true, &["hello from outside", "10.0.0.1, which lies inside"])
}

fn the_hosts_file_says_what_may_lie_inside() -> Verdict {
    let network = Network::new()?;
    let url = "http://hosted.test:8080/hello";
    network
        .fenced(&["--connect", "hosted.test:8080"], &curl(url))?
        .claim(true, &["hello from outside"])?;
    network
        .fenced(&["--connect", "web.test:8080"], &curl(url))?
        .claim(false, &[])
}

fn a_deny_rule_about_addresses_beats_the_name() -> Verdict {
    let network = Network::new()?;
    let options = [
        "--connect",
        "web.test:8080",
        "--deny-network",
        "93.184.0.0/16",
    ];
    network
        .fenced(&options, &curl("http://web.test:8080/hello"))?
        .claim(false, &["deny rule `93.184.0.0/16`"])
}

fn programs_find_their_peers_by_name() -> Verdict {
    let network = Network::new()?;
    let script = "import asyncio, sys\n\
                  async def fetch():\n\
                  \x20   reader, writer = await asyncio.open_connection('web.test', 8080)\n\
                  \x20   writer.write(b'GET /hello HTTP/1.0\\r\\n\\r\\n')\n\
                  \x20   return await reader.read()\n\
                  sys.stdout.buffer.write(asyncio.run(fetch()))\n";
    let command = [PYTHON, "-I", "-c", script];
    network.unfenced(&command)?;
    network
        .fenced(&["--connect", "web.test:8080"], &command)?
        .claim(true, &["hello from outside"])?;
    network
        .fenced(&["--connect", "other.test:8080"], &command)?
        .claim(false, &["denied resolve web.test"])?;
    let by_address = script.replace("web.test", "93.184.215.80");
    let by_address = [PYTHON, "-I", "-c", &by_address];
    network.unfenced(&by_address)?;
    network
        .fenced(&["--connect", "web.test:8080"], &by_address)?
        .claim(false, &["denied connect tcp 93.184.215.80:8080"])
}

/// Under the fallback the filter closes sockets, and a tracepoint sees that.
fn a_socket_that_is_closed_is_told_with_what_opens_it() -> Verdict {
    let network = Network::new()?;
    let made = |family: u8| format!("import socket; socket.socket({family}, 1)");
    let tried = |options: &[&str], family: u8, then: &str| {
        let script = made(family) + then;
        network.fenced(options, &[PYTHON, "-I", "-c", &script])
    };
    network.unfenced(&[PYTHON, "-I", "-c", &made(2)])?;
    tried(&[], 2, "")?.claim(
        false,
        &[
            "denied socket of IPv4",
            "no rule lets it reach anybody",
            "--connect example.com:443",
        ],
    )?;
    let rule = ["--connect", "web.test:8080"];
    tried(&rule, 17, "")?.claim(
        false,
        &[
            "denied socket of family 17",
            "no rule can be about a socket of this family",
        ],
    )?;
    // Where the network is open, what closes a raw socket is the lack of a capability: no rule is named, as none would help.
    let raw = "import socket; socket.socket(2, 3, 1)";
    let open = network.fenced(&["--network", "open"], &[PYTHON, "-I", "-c", raw])?;
    open.claim(false, &["takes the capability `net_raw`"])?;
    open.leaves_unsaid("no rule")?;
    // The C library asks for a cache of names first, whose socket is not open. That is no news where the command succeeds.
    let ended = tried(&rule, 2, "; socket.getaddrinfo('web.test', 8080)")?;
    ended.claim(true, &[])?;
    ended.leaves_unsaid("denied")?;
    tried(&rule, 1, "")?.claim(
        false,
        &["Unix sockets are closed but for stream pairs", "--unix"],
    )?;
    // One that is expected to reach nobody is no news where it fails either.
    let profile = "version = 1\nextends = [\"untrusted\"]\n[network]\nconnect = [\"web.test:8080\"]\n\
                   deny = [{ address = \"@\", expected = true, because = \"the C library looks for a service\" }]\n";
    let profile = network.folder.file("expected.toml", profile)?;
    let profile = profile.display().to_string();
    let ended = tried(&["-p", &profile], 1, "")?;
    ended.claim(false, &["PermissionError"])?;
    ended.leaves_unsaid("denied socket")
}

fn git_and_pip_find_their_peers_by_name() -> Verdict {
    let network = Network::new()?;
    // Root's own configuration is none of the default profile's.
    let git = [
        "env",
        "GIT_CONFIG_GLOBAL=/dev/null",
        "git",
        "ls-remote",
        "http://web.test:8080/repo.git",
    ];
    network.unfenced(&git)?;
    network
        .fenced(&["--connect", "web.test:8080"], &git)?
        .claim(true, &["1234567890123456789012345678901234567890"])?;
    network
        .fenced(&["--connect", "cdn.test:8080"], &git)?
        .claim(false, &["denied resolve web.test"])?;

    let pip = "exec /usr/bin/python3 -m pip --isolated --disable-pip-version-check download -q --no-deps --no-cache-dir \
               --retries 0 -i http://web.test:8080/simple/ --trusted-host web.test --trusted-host cdn.test \
               -d \"${TMPDIR:-/tmp}\" tiny";
    let pip = ["sh", "-c", pip];
    network.unfenced(&pip)?;
    let both = ["--connect", "web.test:8080", "--connect", "cdn.test:8080"];
    network.fenced(&both, &pip)?.claim(true, &[])?;
    // The index alone is not enough where files lie elsewhere.
    network
        .fenced(&both[..2], &pip)?
        .claim(false, &["denied resolve cdn.test"])
}

fn a_shared_address_is_open_for_the_allowed_name_alone() -> Verdict {
    let network = Network::new()?;
    network.certify()?;
    let at = "--resolve cdn.test:8443:93.184.215.80";
    let other = format!("curl -skS -m 5 {at} https://cdn.test:8443/hello");
    network.unfenced(&["sh", "-c", &other])?;
    let script = format!("curl -skS -m 60 https://web.test:8443/hello && {other}");
    let both = ["sh", "-c", &script];
    network
        .fenced(&["--connect", "web.test:8443"], &both)?
        .claim(
            false,
            &[
                "hello from outside",
                "denied tls-greeting web.test (tcp 93.184.215.80:8443) by curl",
                "its TLS greeting says cdn.test, which no rule allows",
                "--connect cdn.test:8443",
            ],
        )?;
    network
        .fenced(&["--connect", "web.test:8443", "--sni", "off"], &both)?
        .claim(true, &["hello from outside"])?;
    network
        .fenced(
            &["--connect", "web.test:8080", "--sni", "required"],
            &["curl", "-sS", "-m", "5", "http://web.test:8080/hello"],
        )?
        .claim(false, &["it does not begin with a TLS greeting"])
}

fn traffic_is_told_by_name() -> Verdict {
    let network = Network::new()?;
    let script = "import socket\n\
                  got = 0\n\
                  for _ in range(2):\n\
                  \x20   peer = socket.create_connection(('web.test', 8080))\n\
                  \x20   peer.sendall(b'GET /hello HTTP/1.0\\r\\n\\r\\n')\n\
                  \x20   while part := peer.recv(65536):\n\
                  \x20       got += len(part)\n\
                  server = socket.create_server(('127.0.0.1', 9000))\n\
                  own = socket.create_connection(('127.0.0.1', 9000))\n\
                  other, _ = server.accept()\n\
                  own.sendall(b'12345'), other.recv(9), other.sendall(b'678'), own.recv(9)\n\
                  print('got', got)\n";
    let own = "127.0.0.1:9000";
    let options = [
        "--stats",
        "--connect",
        "web.test:8080",
        "--connect",
        own,
        "--listen",
        own,
    ];
    let ended = network.fenced(&options, &[PYTHON, "-I", "-c", script])?;
    ended.claim(true, &["got "])?;
    let out = String::from_utf8_lossy(&ended.output.stdout);
    let got = out.trim().trim_start_matches("got ").to_owned();
    let told = String::from_utf8_lossy(&ended.output.stderr);
    let rows: Vec<String> = told
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let expected = [
        format!("web.test 8080/tcp 2 46 {got}"),
        "127.0.0.1 9000/tcp 1 5 3".to_owned(),
        "from 127.0.0.1 9000/tcp 1 3 5".to_owned(),
    ];
    match expected.iter().all(|row| rows.contains(row)) {
        true => Ok(()),
        false => Err(format!("{expected:#?} in\n{told}").into()),
    }
}

fn apt_finds_its_mirror_by_name() -> Verdict {
    let network = Network::new()?;
    // A configuration of its own, so that no rule is needed for the host's.
    let update = "d=\"${TMPDIR:-/tmp}/apt\"; mkdir -p \"$d/lists/partial\" \"$d/cache/archives/partial\" \"$d/etc\" && touch \"$d/status\" && \
                  echo 'deb [trusted=yes] http://web.test:8080/debian ./' >\"$d/sources\" && \
                  printf 'Dir::%s;\\n' \"Etc \\\"$d/etc\\\"\" \"Etc::sourcelist \\\"$d/sources\\\"\" 'Etc::sourceparts \"/dev/null\"' \
                  \"State \\\"$d\\\"\" \"State::lists \\\"$d/lists\\\"\" \"State::status \\\"$d/status\\\"\" \"Cache \\\"$d/cache\\\"\" >\"$d/conf\" && \
                  export APT_CONFIG=\"$d/conf\" && apt-get update -qq -o APT::Sandbox::User=root -o Acquire::Languages=none \
                  -o Acquire::Retries=0 && cat \"$d\"/lists/*_Packages";
    let update = ["sh", "-c", update];
    network
        .fenced(&["--connect", "web.test:8080"], &update)?
        .claim(true, &["from the mirror"])?;
    network
        .fenced(&["--connect", "cdn.test:8080"], &update)?
        .claim(false, &["denied resolve web.test"])
}

fn npm_finds_its_registry_by_name() -> Verdict {
    let network = Network::new()?;
    let install = "d=\"${TMPDIR:-/tmp}/npm\"; npm install --silent --no-audit --no-fund --no-update-notifier --fetch-retries 0 \
                   --registry http://web.test:8080/ --cache \"$d/cache\" --prefix \"$d/app\" tiny && \
                   cat \"$d/app/node_modules/tiny/package.json\"";
    let install = ["sh", "-c", install];
    let both = ["--connect", "web.test:8080", "--connect", "cdn.test:8080"];
    network
        .fenced(&both, &install)?
        .claim(true, &["\"version\": \"1.0.0\""])?;
    network
        .fenced(&both[..2], &install)?
        .claim(false, &["denied resolve cdn.test"])
}
