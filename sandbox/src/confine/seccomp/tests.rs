//! What the kernel would answer to a call, for both architectures, by [`super::answer`].

use libseccomp::ScmpSyscall;
use ringfence_abi::surface;

use super::*;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const NATIVE: ScmpArch = ScmpArch::Native;

fn wanted(open: Surfaces) -> Wanted {
    Wanted {
        sockets: Sockets::Unix {
            internet: Internet::Closed,
        },
        open,
        fallback: false,
        shares_ipc: false,
        tells: false,
    }
}

fn refuses(errno: i32) -> u32 {
    super::errno(errno)
}

/// The answer of `program`.
fn run(program: &Program, architecture: ScmpArch, number: u32, arguments: &[u64]) -> u32 {
    program
        .answer(&call(architecture, number, arguments))
        .unwrap()
}

fn call(architecture: ScmpArch, number: u32, arguments: &[u64]) -> Call {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    Call {
        number,
        architecture: audit(architecture).unwrap(),
        arguments: all,
    }
}

fn number(name: &str, architecture: ScmpArch) -> u32 {
    let raw = ScmpSyscall::from_name_by_arch(name, architecture)
        .unwrap()
        .as_raw_syscall();
    u32::try_from(raw).unwrap_or_else(|_| panic!("{name} has no number here"))
}

/// What both programs together answer.
fn answer(programs: &[Program], architecture: ScmpArch, number: u32, arguments: &[u64]) -> u32 {
    super::answer(programs, &call(architecture, number, arguments)).unwrap()
}

fn by_name(programs: &[Program], name: &str, arguments: &[u64]) -> u32 {
    answer(programs, NATIVE, number(name, NATIVE), arguments)
}

fn default(open: Surfaces) -> Vec<Program> {
    Program::all(wanted(open), &Syscalls::Default).unwrap()
}

fn listed(names: &[&'static str]) -> Vec<Program> {
    let listed = Syscalls::Listed(names.to_vec());
    Program::all(wanted(Surfaces::NONE), &listed).unwrap()
}

#[test]
fn every_closed_call_is_known_or_has_a_number() {
    for fallback in [false, true] {
        let ports = Internet::Ports {
            datagrams: false,
            listen: false,
        };
        let all = [Internet::Closed, Internet::Judged, ports].map(|internet| {
            [
                Sockets::Any,
                Sockets::Unix { internet },
                Sockets::Pairs { internet },
            ]
        });
        for sockets in all.into_iter().flatten() {
            let wanted = Wanted {
                sockets,
                fallback,
                shares_ipc: fallback,
                tells: false,
                open: Surfaces::NONE,
            };
            let programs = Program::all(wanted, &Syscalls::Default).unwrap();
            assert!(programs[0].len() > syscalls::CLOSED.len());
        }
    }
}

#[test]
fn of_sockets_only_those_are_made_that_somebody_judges() {
    let (unix, inet, inet6) = (1, 2, 10);
    let (stream, datagram, raw) = (1, 2, 3);
    let over = 1 << 32;
    let tries: [(&[u64], bool, bool); 20] = [
        (&[unix, stream, 0], true, false),
        (&[inet, stream, 0], true, true),
        (&[inet, stream | 0o2_004_000, 6], true, true),
        (&[over | inet, over | datagram, 17], true, true),
        (&[inet6, stream, 262], true, true),
        (&[inet6, datagram, 58], true, true),
        (&[inet, raw, 255], false, false),
        (&[over | inet, over | raw, 255], false, false),
        (&[inet6, raw, 58], false, false),
        (&[inet, 5, 132], false, false),
        (&[inet, 10, 0], false, false),
        (&[16, raw, 0], true, true),
        (&[16, datagram, 0], true, true),
        (&[16, raw, 12], false, false),
        (&[16, raw, 1 << 31], false, false),
        (&[17, raw, 0], false, false),
        (&[over | 17, raw, 0], false, false),
        (&[40, stream, 0], false, false),
        (&[0xffff_ffff, stream, 0], false, false),
        (&[0, stream, 0], false, false),
    ];
    for (arguments, unix, pairs) in tries {
        for (sockets, made) in [
            (
                Sockets::Unix {
                    internet: Internet::Judged,
                },
                unix,
            ),
            (
                Sockets::Pairs {
                    internet: Internet::Judged,
                },
                pairs,
            ),
        ] {
            let wanted = Wanted {
                sockets,
                ..wanted(Surfaces::NONE)
            };
            let programs = Program::all(wanted, &Syscalls::Default).unwrap();
            let expected = if made { ALLOW } else { refuses(libc::EACCES) };
            let found = by_name(&programs, "socket", arguments);
            assert_eq!(found, expected, "{sockets:?} {arguments:x?}");
        }
    }
}

#[test]
fn every_netlink_socket_is_made_where_that_is_open_and_nothing_else_besides() {
    let made = |sockets, open, arguments: &[u64]| {
        let wanted = Wanted {
            sockets,
            ..wanted(open)
        };
        let programs = Program::all(wanted, &Syscalls::Default).unwrap();
        by_name(&programs, "socket", arguments) == ALLOW
    };
    let (unix, inet, netlink, packet, raw) = (1, 2, 16, 17, 3);
    for internet in [Internet::Closed, Internet::Judged] {
        let has_network = internet == Internet::Judged;
        for (sockets, has_unix) in [
            (Sockets::Unix { internet }, true),
            (Sockets::Pairs { internet }, false),
        ] {
            let open = |arguments: &[u64]| made(sockets, surface::NETLINK, arguments);
            assert!(open(&[netlink, raw, 0]) && open(&[netlink, raw, 15]));
            assert!(!made(sockets, Surfaces::NONE, &[netlink, raw, 15]));
            assert_eq!(
                made(sockets, Surfaces::NONE, &[netlink, raw, 0]),
                has_network
            );
            assert_eq!(open(&[unix, 1, 0]), has_unix);
            assert_eq!(open(&[inet, 1, 0]), has_network);
            assert!(!open(&[inet, raw, 1]) && !open(&[packet, raw, 0]));
            assert!(!open(&[1 << 16 | netlink, raw, 0]));
        }
    }
}

#[test]
fn where_landlock_judges_ports_nothing_is_left_that_it_does_not_see() {
    let made = |datagrams, arguments: &[u64]| {
        let internet = Internet::Ports {
            datagrams,
            listen: false,
        };
        let wanted = Wanted {
            sockets: Sockets::Pairs { internet },
            ..wanted(Surfaces::NONE)
        };
        let programs = Program::all(wanted, &Syscalls::Default).unwrap();
        by_name(&programs, "socket", arguments) == ALLOW
    };
    let (inet, inet6, stream, datagram) = (2, 10, 1, 2);
    let over = 1 << 32;
    for family in [inet, inet6] {
        for protocol in [0, 6, over, over | 6] {
            assert!(made(false, &[family, stream | 0o2_004_000, protocol]));
        }
        // ICMP, IGMP, IPv4 in IPv4, SCTP, SMC, MPTCP, and what has no name.
        for protocol in [1, 2, 4, 5, 7, 8, 14, 132, 256, 262, 1 << 31, 0xffff_ffff] {
            assert!(!made(true, &[family, stream, protocol]), "{protocol}");
        }
        assert!(!made(false, &[family, datagram, 17]));
        assert!(made(true, &[family, datagram, 17]));
        assert!(!made(true, &[family, 3, 255]));
    }
    assert!(!made(true, &[1, stream, 0]));
    assert!(made(false, &[16, 3, 0]));
}

#[test]
fn nothing_connects_by_sending_or_listens_past_landlock() {
    let programs = |listen| {
        let internet = Internet::Ports {
            datagrams: false,
            listen,
        };
        let wanted = Wanted {
            sockets: Sockets::Pairs { internet },
            ..wanted(Surfaces::NONE)
        };
        Program::all(wanted, &Syscalls::Default).unwrap()
    };
    let fast_open = 0x2000_0000 | 0x4000;
    let closed = programs(false);
    for (name, flags) in [("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)] {
        let mut arguments = [0; 6];
        arguments[flags] = 0x4000;
        assert_eq!(by_name(&closed, name, &arguments), ALLOW, "{name}");
        arguments[flags] = 1 << 32 | fast_open;
        let refused = refuses(libc::EOPNOTSUPP);
        assert_eq!(by_name(&closed, name, &arguments), refused, "{name}");
    }
    assert_eq!(by_name(&closed, "listen", &[3, 1]), refuses(libc::EACCES));
    assert_eq!(by_name(&programs(true), "listen", &[3, 1]), ALLOW);
}

#[test]
fn numbers_in_the_table_are_those_of_libseccomp_where_it_has_them() {
    for &(name, number) in syscalls::NEWER {
        if let Ok(syscall) = ScmpSyscall::from_name(name) {
            let raw = i64::from(syscall.as_raw_syscall());
            assert_eq!(raw, i64::from(number), "{name}");
        }
    }
}

#[test]
fn every_name_that_a_profile_can_list_is_known() {
    let names = crate::profile::syscall::every();
    assert!(names.len() > 400);
    Program::all(wanted(Surfaces::NONE), &Syscalls::Listed(names)).unwrap();
}

#[test]
fn a_surface_opens_its_calls_and_no_other() {
    let newuser = libc::CLONE_NEWUSER.cast_unsigned().into();
    let newnet = libc::CLONE_NEWNET.cast_unsigned().into();
    let tries: [(Surfaces, &str, &[u64]); 12] = [
        (surface::MOUNT, "mount", &[]),
        (surface::CHROOT, "chroot", &[]),
        (surface::USERNS, "unshare", &[newuser]),
        (surface::NAMESPACES, "unshare", &[newnet]),
        (surface::NAMESPACES, "setns", &[3, newnet]),
        (surface::BPF, "bpf", &[]),
        (surface::IO_URING, "io_uring_setup", &[]),
        (surface::KEYRING, "add_key", &[]),
        (surface::FILE_HANDLES, "open_by_handle_at", &[]),
        (surface::CLOCK, "clock_settime", &[]),
        (surface::TERMINAL_INPUT, "ioctl", &[0, libc::TIOCSTI]),
        (surface::TUN, "ioctl", &[9, 0x4004_54ca]),
    ];
    for (open, name, arguments) in tries {
        for (other, called, passed) in tries {
            let expected = if open == other {
                ALLOW
            } else {
                refuses(libc::EPERM)
            };
            let programs = default(open);
            assert_eq!(
                by_name(&programs, called, passed),
                expected,
                "{called} {passed:x?} with what opens {name} {arguments:x?}"
            );
        }
    }
}

#[test]
fn every_closed_call_is_refused_and_opened_by_what_opens_it() {
    let everything = Surfaces(u32::MAX);
    for rule in syscalls::CLOSED {
        let Ok(number) = ScmpSyscall::from_name(rule.name) else {
            continue;
        };
        let Ok(number) = u32::try_from(number.as_raw_syscall()) else {
            continue;
        };
        let closed = answer(&default(Surfaces::NONE), NATIVE, number, &[]);
        assert_eq!(closed, refuses(rule.errno), "{}", rule.name);
        let open = answer(&default(everything), NATIVE, number, &[]);
        let expected = if rule.opened_by.is_some() {
            ALLOW
        } else {
            refuses(rule.errno)
        };
        assert_eq!(open, expected, "{}", rule.name);
    }
}

#[test]
fn clone3_is_there_only_if_every_namespace_may_be_made() {
    let clone3 = |open| by_name(&default(open), "clone3", &[]);
    assert_eq!(clone3(surface::NAMESPACES), refuses(libc::ENOSYS));
    assert_eq!(clone3(surface::USERNS), refuses(libc::ENOSYS));
    assert_eq!(clone3(surface::NAMESPACES.union(surface::USERNS)), ALLOW);
}

#[test]
fn a_user_namespace_is_not_entered_by_leave_for_the_others() {
    let newuser = libc::CLONE_NEWUSER.cast_unsigned().into();
    for kind in [0, newuser] {
        let setns = |open| by_name(&default(open), "setns", &[3, kind]);
        assert_eq!(setns(surface::NAMESPACES), refuses(libc::EPERM));
        assert_eq!(setns(surface::NAMESPACES.union(surface::USERNS)), ALLOW);
    }
}

#[test]
fn a_personality_is_asked_for_or_one_of_two() {
    const FIXED_ADDRESSES: u32 = 0x4_0000;
    let programs = default(Surfaces::NONE);
    let runs = (0..32)
        .flat_map(|low| (low..32).map(move |high| u32::MAX << low & u32::MAX >> (31 - high)));
    let two = (0..32).flat_map(|one| (0..32).map(move |other| 1 << one | 1 << other));
    let marked = [0xaaaa_aaaa, 0xdead_beef, 0x0040_0000];
    for chosen in runs.chain(two).chain(marked).flat_map(|it| [it, !it]) {
        let expected = match chosen {
            0 | FIXED_ADDRESSES | u32::MAX => ALLOW,
            _ => refuses(libc::EPERM),
        };
        for above in [0, u64::MAX << 32] {
            let told = by_name(&programs, "personality", &[above | u64::from(chosen)]);
            assert_eq!(told, expected, "{chosen:#x}");
        }
    }
}

#[test]
fn a_list_lets_through_what_is_in_it_and_what_every_process_needs() {
    let programs = listed(&["openat", "read"]);
    for name in ["openat", "read", "execve", "exit_group", "write"] {
        assert_eq!(by_name(&programs, name, &[]), ALLOW, "{name}");
    }
    for name in ["mkdirat", "socket", "ptrace", "getpid"] {
        assert_eq!(
            by_name(&programs, name, &[]),
            refuses(libc::EPERM),
            "{name}"
        );
    }
}

#[test]
fn a_list_opens_nothing_that_a_fence_closes_and_keeps_its_errno() {
    let programs = listed(&["mount", "bpf", "clone", "socket", "clone3"]);
    let newuser = libc::CLONE_NEWUSER.cast_unsigned().into();
    assert_eq!(by_name(&programs, "mount", &[]), refuses(libc::EPERM));
    assert_eq!(by_name(&programs, "bpf", &[]), refuses(libc::EPERM));
    assert_eq!(
        by_name(&programs, "clone", &[newuser]),
        refuses(libc::EPERM)
    );
    assert_eq!(by_name(&programs, "clone", &[0]), ALLOW);
    assert_eq!(by_name(&programs, "clone3", &[]), refuses(libc::ENOSYS));
    let inet = libc::AF_INET.cast_unsigned().into();
    assert_eq!(by_name(&programs, "socket", &[inet]), refuses(libc::EACCES));
    // Not listed, and the errno that C libraries are prepared for all the same.
    assert_eq!(
        by_name(&listed(&["read"]), "clone3", &[]),
        refuses(libc::ENOSYS)
    );
}

#[test]
fn a_call_that_is_newer_than_the_table_is_not_there_listed_or_not() {
    for programs in [default(Surfaces::NONE), listed(&["read"])] {
        let newest = answer(&programs, NATIVE, syscalls::FIRST_UNKNOWN, &[]);
        assert_eq!(newest, refuses(libc::ENOSYS));
    }
    let mseal = syscalls::newer("mseal").unwrap();
    assert_eq!(answer(&listed(&["mseal"]), NATIVE, mseal, &[]), ALLOW);
    let refused = answer(&listed(&["read"]), NATIVE, mseal, &[]);
    assert_eq!(refused, refuses(libc::EPERM));
}

#[test]
fn calls_of_32_bits_are_held_to_the_same() {
    let second = if cfg!(target_arch = "x86_64") {
        ScmpArch::X86
    } else {
        ScmpArch::Arm
    };
    let call = |programs: &[Program], name| answer(programs, second, number(name, second), &[]);
    let programs = listed(&["openat", "mount"]);
    assert_eq!(call(&programs, "openat"), ALLOW);
    assert_eq!(call(&programs, "mkdir"), refuses(libc::EPERM));
    assert_eq!(call(&programs, "mount"), refuses(libc::EPERM));
    assert_eq!(
        call(&default(Surfaces::NONE), "mount"),
        refuses(libc::EPERM)
    );
    assert_eq!(call(&default(surface::MOUNT), "mount"), ALLOW);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_the_x32_kind_do_not_exist() {
    const X32_BIT: u32 = 0x4000_0000;
    let read = number("read", NATIVE);
    for programs in [default(Surfaces::NONE), listed(&["read"])] {
        let refused = answer(&programs, NATIVE, X32_BIT | read, &[]);
        assert_eq!(refused, refuses(libc::ENOSYS));
    }
}

/// What is loaded where the supervisor is asked answers as the fence's programs do, but for what it is asked of.
#[test]
fn who_asks_the_supervisor_refuses_and_lets_through_the_same() {
    let notifies = libc::SECCOMP_RET_USER_NOTIF;
    let few: &[&'static str] = &["read", "mkdir", "openat", "clone3"];
    let lists = [
        Syscalls::Default,
        Syscalls::Listed(few.to_vec()),
        Syscalls::Listed([few, &["sendmmsg", "seccomp"]].concat()),
    ];
    for (list, has_rest) in lists.iter().zip([false, true, false]) {
        let wanted = Wanted {
            tells: true,
            fallback: true,
            ..wanted(Surfaces::NONE)
        };
        let programs = Program::all(wanted, list).unwrap();
        let telling = Telling::of(&programs, true, false).unwrap();
        assert_eq!(telling.rest.is_some(), has_rest);
        let loaded: Vec<_> = [telling.notifies].into_iter().chain(telling.rest).collect();
        let handing_over = ["sendmmsg", "seccomp"].map(|name| number(name, NATIVE));
        let mut asked = 0;
        for architecture in [NATIVE, ScmpArch::X86] {
            for number in (0..600).chain([0x4000_0000, 0xf_0005]) {
                for first in [0, 1, 8, 0x1000_0000, u64::MAX] {
                    let arguments = [first, first, 0];
                    let expected = answer(&programs, architecture, number, &arguments);
                    let found = answer(&loaded, architecture, number, &arguments);
                    if expected != refuses(libc::EPERM) {
                        assert_eq!(found, expected, "{number} {first:#x}");
                    } else if !(has_rest && handing_over.contains(&number)) {
                        assert_eq!(found, notifies, "{number} {first:#x}");
                        asked += 1;
                    } else {
                        assert!(found == expected || found == notifies, "{number}");
                    }
                }
            }
        }
        assert!(asked > 100, "{asked}");
    }
}

#[test]
fn where_the_supervisor_is_asked_nobody_else_listens() {
    let wanted = Wanted {
        tells: true,
        ..wanted(Surfaces::NONE)
    };
    let programs = Program::all(wanted, &Syscalls::Default).unwrap();
    let telling = Telling::of(&programs, true, true).unwrap().notifies;
    for architecture in [NATIVE, ScmpArch::X86] {
        let number = number("seccomp", architecture);
        for (flags, expected) in [
            (8, refuses(libc::EBUSY)),
            (9, refuses(libc::EBUSY)),
            (1, ALLOW),
        ] {
            assert_eq!(run(&telling, architecture, number, &[1, flags]), expected);
        }
    }
    let connect = number("connect", NATIVE);
    assert_eq!(
        run(&telling, NATIVE, connect, &[]),
        libc::SECCOMP_RET_USER_NOTIF
    );
}

#[test]
fn the_longest_list_finds_room() {
    let mut all = crate::profile::syscall::every();
    all.retain(|name| *name != "sendmmsg");
    let listed = Syscalls::Listed(all);
    let wanted = Wanted {
        tells: true,
        fallback: true,
        shares_ipc: true,
        ..wanted(Surfaces::NONE)
    };
    let programs = Program::all(wanted, &listed).unwrap();
    let telling = Telling::of(&programs, true, true).unwrap();
    assert!(telling.rest.is_some());
}
