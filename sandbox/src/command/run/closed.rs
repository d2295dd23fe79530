//! Why something is closed that no path rule is about, and what would open it.

use ringfence_abi::{event::operation, network::NETLINK, rights::READ, surface::Surfaces};

use super::denial::Denial;
use crate::{
    compile::Explainer,
    event::{Event, Source},
    policy::NetworkQuestion,
    profile::{capability, syscall},
};

/// What closes processes outside.
const TRACING: &str = "ptrace";
// Families of sockets (include/linux/socket.h).
const UNIX: u32 = 1;
const INTERNET: [u32; 2] = [2, 10];

/// The reason, as the end of a sentence.
pub(super) fn reason(event: &Event) -> String {
    if event.operation == operation::CAPABILITY {
        return match capability_name(event.detail) {
            Some(name) => format!("the profile does not list the capability `{name}`"),
            None => format!(
                "capability {} is not one that this version knows",
                event.detail
            ),
        };
    }
    match Surfaces::numbered(event.surface) {
        Some(surface) => format!("`{}` is closed: {}", surface.name, surface.text),
        None => "it is closed to every fenced task".to_owned(),
    }
}

/// Whether a rule about processes has met one outside the fence, which it is not about: `ps` looks at all that are listed.
pub(super) fn is_of_another_process(event: &Event, explainer: &Explainer) -> bool {
    let reads = [operation::OPEN, operation::LIST].contains(&event.operation);
    let tracing = Surfaces::numbered(event.surface).is_some_and(|surface| surface.name == TRACING);
    let inside = event.path.strip_prefix(b"/proc/").unwrap_or_default();
    let of_a_process = inside.first().is_some_and(u8::is_ascii_digit);
    // A memory is opened by who traces its process.
    let memory = inside.ends_with(b"/mem");
    let is_listed = || explainer.rights_in(event.program, &event.path) & READ != 0;
    reads && tracing && of_a_process && !memory && is_listed()
}

/// Explains that a socket was not made; the event's detail is its family.
pub(super) fn explain_socket(denial: &mut Denial, event: &Event, explainer: &Explainer) {
    let has_rules = explainer.opens_sockets(event.program);
    denial.path = match event.detail {
        UNIX => "of Unix".to_owned(),
        2 => "of IPv4".to_owned(),
        10 => "of IPv6".to_owned(),
        NETLINK => "of netlink".to_owned(),
        family => format!("of family {family}"),
    };
    // What is seen is a call that failed: of a raw socket without the capability, for one.
    if !explainer.restricts_network(event.program) {
        denial.allowed_by_profile = true;
        denial.reason =
            "the network is open in the profile, and something else does not allow it".to_owned();
        denial.hint = Some("a raw socket takes the capability `net_raw`".to_owned());
        return;
    }
    let is_internet = INTERNET.contains(&event.detail);
    let (reason, hint) = match event.detail {
        // Hooks let them be made, and judge whom they reach.
        UNIX if event.source == Source::Syscall => {
            denial.allowed_by_profile = true;
            // A rule about the name of nobody is about sockets that reach nobody.
            let nobody = explainer.explain_network(event.program, &NetworkQuestion::Abstract(b""));
            if let Some(rule) = nobody.rule.filter(|_| !nobody.allowed) {
                denial.because = rule.because;
                denial.expected = rule.expected;
            }
            (
                "Unix sockets are closed but for stream pairs, unless a rule is about one and its keeping can be had here",
                "say whom it may reach, as in `--unix /run/service.sock`, as root on Linux 6.7 or newer; elsewhere `--best-effort network` \
                 opens them, whatever their path",
            )
        }
        _ if is_internet && !has_rules => (
            "no rule lets it reach anybody",
            "say whom it may reach, as in `--connect example.com:443`",
        ),
        _ if is_internet => (
            "no rule can be about a socket of this kind or protocol",
            "rules are about TCP, UDP and pings; `--network open` lets every socket be made",
        ),
        NETLINK => (
            "netlink is closed, but for routes where there are rules about the network",
            "`--allow-kernel netlink` opens it",
        ),
        _ => (
            "no rule can be about a socket of this family",
            "`--network open` lets every socket be made",
        ),
    };
    denial.reason = reason.to_owned();
    denial.hint = Some(hint.to_owned());
}

/// Explains that a call is not among those that the profile lists.
pub(super) fn explain_unlisted(denial: &mut Denial) {
    "the profile lists system calls, and not this one".clone_into(&mut denial.reason);
    if syscall::check(&denial.path).is_ok() {
        let line = format!("[process] syscalls = [\"{}\"]", denial.path);
        denial.profile_lines.push(line);
        denial.flags.push(format!("--syscalls {}", denial.path));
    }
}

/// Explains that a task was kept from setting something of another one of the fence.
pub(super) fn explain_other_task(denial: &mut Denial) {
    "it is about another task of the fence, whose number the engine does not tell from one of a task outside"
        .clone_into(&mut denial.reason);
    let hint = "a profile opens it, for tasks outside too, with `[kernel] allow = [\"scheduler\"]`";
    denial.hint = Some(hint.to_owned());
}

/// The line of a profile that would open it; `None` where nothing does.
pub(super) fn remedy(event: &Event) -> Option<String> {
    if event.operation == operation::CAPABILITY {
        let name = capability_name(event.detail)?;
        return Some(format!("[process] capabilities = [\"{name}\"]"));
    }
    let surface = Surfaces::numbered(event.surface)?;
    Some(format!("[kernel] allow = [\"{}\"]", surface.name))
}

fn capability_name(number: u32) -> Option<&'static str> {
    let number = usize::try_from(number).ok()?;
    capability::NAMES.get(number).copied()
}
