//! What reaches beyond a peer's address: groups of hosts that are asked all at once, and the search on the link for the host
//! that has an address.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

use libtest_mimic::Failed;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};
use ringfence::policy::Mode;
use ringfence_abi::network::{ALLOW, TCP, UDP};

use super::outside::Server;
use super::policy::{connect, policy};
use super::{BY_CGROUP, BY_HOOKS, Judge, Scene, lines};
use crate::kit::{Need, Suite, Verdict};

/// What the near end of the link is called.
const OWN: &str = "198.51.100.1";
const OWN6: &str = "2001:db8::1";

pub(super) fn register(suite: &mut Suite) {
    for (name, test) in [
        (
            "an_address_that_may_not_be_reached_is_not_looked_for_on_the_link",
            neighbours as fn(Judge) -> Verdict,
        ),
        ("groups_are_asked_where_a_rule_names_them", groups),
    ] {
        for (judge, shown, needs) in [
            (Judge::Hooks, "hooks", BY_HOOKS),
            (Judge::Cgroup, "cgroup", BY_CGROUP),
        ] {
            let needs: &'static [Need] = [needs, &[Need::Program("ip")]].concat().leak();
            // A network namespace is a thread's own.
            let on_link = move || {
                let thread = std::thread::spawn(move || {
                    link()?;
                    test(judge)
                });
                thread.join().map_err(|_| "the thread failed")?
            };
            suite.test(format!("network::{shown}::{name}"), needs, on_link);
        }
    }
}

/// Gives this thread a network of its own: a link, one end of which has addresses.
fn link() -> Verdict {
    unshare(CloneFlags::CLONE_NEWNET)?;
    for words in [
        "link set lo up",
        "link add near type veth peer name far",
        "link set near addrgenmode none",
        &format!("address add {OWN}/24 dev near"),
        &format!("address add {OWN6}/64 dev near nodad"),
        "link set near up",
        "link set far up",
    ] {
        let done = Command::new("ip").args(words.split(' ')).status()?;
        if !done.success() {
            return Err(format!("ip {words}: {done}").into());
        }
    }
    Ok(())
}

/// Names are asked of such groups as well, by mDNS and LLMNR: the groups of the one and of the other here.
fn groups(judge: Judge) -> Verdict {
    let [asked, other] = [Ipv4Addr::new(224, 0, 0, 251), Ipv4Addr::new(224, 0, 0, 252)];
    let asked6: Ipv6Addr = "ff02::fb".parse()?;
    let server = Server::groups(&[asked, other], &OWN.parse()?)?;
    let server6 = Server::group6(&asked6, "near")?;
    let (port, port6) = (server.port(), server6.port());
    let acts = |ends: [&'static str; 3]| {
        [
            (format!("group {asked} {port}"), ends[0]),
            (format!("group {other} {port}"), ends[1]),
            (format!("group {asked6} {port6}"), ends[2]),
        ]
    };
    // Who is asked answers in his own name, and is a peer like others.
    let host = [
        connect(OWN, Some((UDP, port)), ALLOW),
        connect(OWN6, Some((UDP, port6)), ALLOW),
    ];
    let group = |group: &str, port| connect(group, Some((UDP, port)), ALLOW);
    let groups = [
        group(&asked.to_string(), port),
        group(&asked6.to_string(), port6),
    ];
    for (rules, ends) in [
        ([host.as_slice(), &groups].concat(), ["ok", "denied", "ok"]),
        (host.to_vec(), ["denied"; 3]),
    ] {
        let scene = Scene::new(judge, &policy(Mode::Enforce, &rules))?;
        scene.tries(&acts(ends))?;
        scene.end()?;
    }
    Ok(())
}

/// The kernel asks in its own name, so the programs on a cgroup do not see the question: it must not come to be.
fn neighbours(judge: Judge) -> Verdict {
    let link = Link::open()?;
    let [may, may_not] = ["198.51.100.8", "198.51.100.7"];
    let [may6, may_not6] = ["2001:db8::8", "2001:db8::7"];
    let rules: Vec<_> = [may, may6]
        .iter()
        .flat_map(|address| [UDP, TCP].map(|protocol| (address, protocol)))
        .map(|(address, protocol)| connect(address, Some((protocol, 9)), ALLOW))
        .collect();
    let acts = |address: &str| ["says", "asynchronous"].map(|verb| format!("{verb} {address} 9"));
    let scene = Scene::new(judge, &policy(Mode::Enforce, &rules))?;
    let mut wrong = Vec::new();
    for (address, is_inside, expected) in [
        (may, true, true),
        (may6, true, true),
        (may_not, true, false),
        (may_not6, true, false),
        // Last, because a host that is once looked for is looked for again.
        (may_not, false, true),
        (may_not6, false, true),
    ] {
        let command = match is_inside {
            true => scene.inside(&acts(address)),
            false => scene.without(&acts(address)),
        };
        let said = lines(command)?;
        if link.looked_for(address)? != expected {
            wrong.push(format!("{address}, inside: {is_inside}: {said:?}"));
        }
    }
    scene.end()?;
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n").into()),
    }
}

/// The far end of the link, where every frame is heard.
struct Link {
    heard: OwnedFd,
    frames: RefCell<Vec<Vec<u8>>>,
}

impl Link {
    fn open() -> Result<Self, Failed> {
        let heard = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::EthAll,
        )?;
        Ok(Self {
            heard,
            frames: RefCell::default(),
        })
    }

    /// Whether anybody has asked on the link who has `address`: by ARP, or by a neighbour solicitation.
    fn looked_for(&self, address: &str) -> Result<bool, Failed> {
        let mut frames = self.frames.borrow_mut();
        let mut frame = [0; 256];
        while let Ok(length) = recv(self.heard.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            frames.push(frame[..length].to_vec());
        }
        // Behind the addresses of Ethernet: ARP with the address asked for at its end; IPv6 with ICMPv6 135, and the address in it.
        Ok(match address.parse()? {
            IpAddr::V4(address) => frames.iter().any(|frame| {
                frame.get(12..14) == Some(&[8, 6]) && frame.get(38..42) == Some(&address.octets())
            }),
            IpAddr::V6(address) => frames.iter().any(|frame| {
                frame.get(12..14) == Some(&[0x86, 0xdd])
                    && frame.get(54) == Some(&135)
                    && frame.get(62..78) == Some(&address.octets())
            }),
        })
    }
}
