//! Running the automata of a policy in a map, by the step of `ringfence_abi::automaton`: over a path or a name in a slot,
//! or over the few bytes of a question about an address.

use aya_ebpf::{cty::c_void, helpers::generated::bpf_loop};
use ringfence_abi::{
    automaton::{self, DEAD},
    network::{ADDRESS_QUESTION, BEFORE_IPV4, CONNECT, Grant, STATES},
    policy::{Label, Table},
    rights,
};

use crate::{
    in_place,
    kernel::{Typed, offset},
    mount_state,
    outcome::Outcome,
    scratch::{PATH_END, Path},
    table::by_size,
    walk::{self, bounded},
};

/// Bytes of one round of the loop, one below a power of two. A round costs little; the verifier follows each byte, for each size of a
/// table.
const BYTES_A_ROUND: u64 = 15;
const ROUNDS: u32 = (PATH_END as u64).div_ceil(BYTES_A_ROUND) as u32;

/// What the automaton says of a path.
#[derive(Clone, Copy)]
pub struct Answer {
    /// State after the path and a slash: what lies below a directory of that name.
    pub below: u32,
    /// Rights of the path.
    pub granted: u8,
    /// Number of the program that an exec of the path enters.
    pub program: u8,
    /// Mode of the file section.
    pub mode: u8,
}

impl Answer {
    /// An answer in one register: its lowest byte is the reason for having none, which is never 0.
    #[inline(always)]
    fn packed(answer: Result<Self, Outcome>) -> u64 {
        match answer {
            Ok(Self { below, granted, program, mode }) => {
                u64::from(below) << 32 | u64::from(granted) << 24 | u64::from(program) << 16 | u64::from(mode) << 8
            }
            Err(Outcome(cause)) => u64::from(cause),
        }
    }

    #[inline(always)]
    fn unpacked(answer: u64) -> Result<Self, Outcome> {
        match answer as u8 {
            0 => Ok(Self {
                below: (answer >> 32) as u32,
                granted: (answer >> 24) as u8,
                program: (answer >> 16) as u8,
                mode: (answer >> 8) as u8,
            }),
            cause => Err(Outcome(cause)),
        }
    }
}

/// Matches a path that [`crate::walk`] has built against the policy of a fence.
#[inline(always)]
pub fn rights(path: *mut Path, label: Label) -> Result<Answer, Outcome> {
    Answer::unpacked(match_path(path, label.table(), u32::from(label.size_class)))
}

/// [`rights`], with label and answer in registers.
///
/// VERIFIER: a global function (kernel/bpf/verifier.c, `do_check_subprogs`) is looked at once, whoever calls it and however often.
/// So it looks at the pointer itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_path(path: *mut Path, table: u32, size_class: u32) -> u64 {
    if path.is_null() {
        return Answer::packed(Err(Outcome::INTERNAL));
    }
    Answer::packed(by_size!(table, size_class, in_table(path)))
}

/// The rights of `dentry` in `vfsmount`, whose path is made of the names between them, behind the path of the mount where `moves` is not
/// 0; none where one of these does not lie in its dentry, where they are more than a few, or where the mount's path is not known.
#[inline(always)]
pub fn in_place(label: Label, dentry: Typed, vfsmount: Typed, moves: u64) -> u8 {
    names(dentry, vfsmount, label.table(), u32::from(label.size_class), moves) as u8
}

/// VERIFIER: a function of its own, so that what comes behind is looked at once, and not for each name and size that it may have ended
/// with.
#[inline(never)]
extern "C" fn names(
    dentry: Typed,
    vfsmount: Typed,
    table: u32,
    size_class: u32,
    moves: u64,
) -> u64 {
    u64::from(by_size!(table, size_class, names_in(dentry, vfsmount, moves)))
}

#[inline(always)]
fn names_in<const WORDS: usize>(
    dentry: Typed,
    vfsmount: Typed,
    moves: u64,
    table: Option<*mut Table<WORDS>>,
) -> u8 {
    let Some(table) = table else {
        return 0;
    };
    let root = vfsmount.pointer(offset!(vfsmount_root));
    // The root of all has no name, and its path is a slash.
    if root.address() == 0 || moves == 0 && dentry.address() == root.address() {
        return 0;
    }
    let start = start_of(table, vfsmount, moves);
    rights_of(table, twelve(table, root, dentry, start))
}

/// The same of two names: the rights of both where they lie in one directory and lead to one state, for then they have the same, enter
/// the same program, and so has all that lies below them. None where they do not.
#[inline(always)]
pub fn siblings_in_place(label: Label, one: Typed, other: Typed, vfsmount: Typed, moves: u64) -> u8 {
    let table = u64::from(label.table()) << 8 | u64::from(label.size_class);
    siblings(one, other, vfsmount, table, moves) as u8
}

/// VERIFIER: a function of its own, as [`names`]. It can have five arguments: the table's size class is the lowest byte.
#[inline(never)]
extern "C" fn siblings(one: Typed, other: Typed, vfsmount: Typed, table: u64, moves: u64) -> u64 {
    let parent = offset!(dentry_parent);
    if one.member::<u64>(parent) != other.member::<u64>(parent) {
        return 0;
    }
    let (table, size_class) = ((table >> 8) as u32, table as u8);
    u64::from(by_size!(table, size_class, siblings_in(one, other, vfsmount, moves)))
}

#[inline(always)]
fn siblings_in<const WORDS: usize>(
    one: Typed,
    other: Typed,
    vfsmount: Typed,
    moves: u64,
    table: Option<*mut Table<WORDS>>,
) -> u8 {
    let Some(table) = table else {
        return 0;
    };
    let root = vfsmount.pointer(offset!(vfsmount_root));
    if root.address() == 0 {
        return 0;
    }
    let start = start_of(table, vfsmount, moves);
    let before = twelve(table, root, one.pointer(offset!(dentry_parent)), start);
    if automaton::is_sink(before) {
        return rights_of(table, before);
    }
    let one = through_name(table, one, u64::from(before));
    let other = through_name(table, other, u64::from(before));
    if one == other { rights_of(table, one as u32) } else { 0 }
}

/// The state that names below the root of a mount begin with; [`DEAD`] where its path is not known.
#[inline(always)]
fn start_of<const WORDS: usize>(table: *mut Table<WORDS>, vfsmount: Typed, moves: u64) -> u32 {
    // SAFETY: `table` is a map value.
    unsafe {
        match moves {
            0 => (*table).header.start,
            _ => {
                let mount = walk::mount_of(vfsmount.address());
                mount_state::state((&raw mut (*table).header.mounts).cast(), mount, in_place::namespace(), moves)
            }
        }
    }
}

/// What a state accepts with, rights alone.
#[inline(always)]
fn rights_of<const WORDS: usize>(table: *const Table<WORDS>, state: u32) -> u8 {
    // SAFETY: `table` is a map value.
    unsafe { accepted(table, Part::FILES, state) & rights::ALL }
}

/// Whether the table in force has kept what the path of a mount leads to.
#[inline(always)]
pub fn has_mount(table: u32, size_class: u32, mount: u64, namespace: u64, moves: u64) -> bool {
    by_size!(table, size_class, has_in(mount, namespace, moves))
}

#[inline(always)]
fn has_in<const WORDS: usize>(
    mount: u64,
    namespace: u64,
    moves: u64,
    table: Option<*mut Table<WORDS>>,
) -> bool {
    let Some(table) = table else {
        return false;
    };
    // SAFETY: `table` is a map value.
    let kept = unsafe { mount_state::state((&raw mut (*table).header.mounts).cast(), mount, namespace, moves) };
    kept != DEAD
}

/// Keeps in the table in force what the path of a mount leads to, which [`crate::walk`] has built.
#[inline(always)]
pub fn keep_mount(path: *mut Path, table: u32, size_class: u32, mount: u64, namespace: u64, moves: u64) {
    by_size!(table, size_class, keep_in(path, mount, namespace, moves));
}

#[inline(always)]
fn keep_in<const WORDS: usize>(
    path: *mut Path,
    mount: u64,
    namespace: u64,
    moves: u64,
    table: Option<*mut Table<WORDS>>,
) {
    let Some(table) = table else {
        return;
    };
    // SAFETY: `path` and `table` are map values, which live as long as the program runs.
    unsafe {
        if let Ok(state) = from_the_start(path, table)
            && mount_state::moves() == moves
        {
            mount_state::keep((&raw mut (*table).header.mounts).cast(), mount, namespace, moves, state);
        }
    }
}

/// The state after the path of a dentry that lies so many names below `root` at most; [`DEAD`] where it does not.
///
/// VERIFIER: what it knows the type of it knows only in a register, or in a place on the stack that is a constant: so there is no
/// loop, and each dentry on the way is a variable of its own.
macro_rules! depth {
    ($name:ident, $below:ident) => {
        #[inline(always)]
        fn $name<const WORDS: usize>(
            table: *const Table<WORDS>,
            root: Typed,
            dentry: Typed,
            start: u32,
        ) -> u32 {
            if dentry.address() == root.address() {
                return start;
            }
            let before = $below(table, root, dentry.pointer(offset!(dentry_parent)), start);
            if automaton::is_sink(before) {
                return before;
            }
            through_name(table, dentry, u64::from(before)) as u32
        }
    };
}

depth!(twelve, eleven);
depth!(eleven, ten);
depth!(ten, nine);
depth!(nine, eight);
depth!(eight, seven);
depth!(seven, six);
depth!(six, five);
depth!(five, four);
depth!(four, three);
depth!(three, two);
depth!(two, one);
depth!(one, none);

#[inline(always)]
fn none<const WORDS: usize>(
    _table: *const Table<WORDS>,
    root: Typed,
    dentry: Typed,
    start: u32,
) -> u32 {
    if dentry.address() == root.address() { start } else { DEAD }
}

/// The state after a slash and the name of `dentry`.
#[inline(never)]
extern "C" fn through_name<const WORDS: usize>(
    table: *const Table<WORDS>,
    dentry: Typed,
    state: u64,
) -> u64 {
    // SAFETY: `table` is a map value.
    let step = |state, byte| unsafe { advance(table, Part::FILES, state, byte) };
    u64::from(in_place::through_name(dentry, state as u32, step))
}

/// Which of the two automata, and where it is.
#[derive(Clone, Copy)]
struct Part {
    /// Where its classes begin behind those of the files.
    classes: u64,
    /// Index of its first word.
    base: u64,
}

impl Part {
    /// The automaton of the files.
    const FILES: Self = Self { classes: 0, base: 0 };

    /// The automaton of the network, whose words begin at `base`.
    #[inline(always)]
    fn network(base: u64) -> Self {
        Self { classes: 256, base }
    }
}

/// The automaton of the network.
///
/// # Safety
/// `table` is a map value.
#[inline(always)]
unsafe fn network<const WORDS: usize>(table: *const Table<WORDS>) -> Part {
    // SAFETY: by contract.
    let base = unsafe { core::ptr::read_volatile(&raw const (*table).header.network_base) };
    Part::network(u64::from(base))
}

struct Context<const WORDS: usize> {
    path: *mut Path,
    table: *const Table<WORDS>,
    base: u64,
}

#[inline(always)]
fn in_table<const WORDS: usize>(
    path: *mut Path,
    table: Option<*mut Table<WORDS>>,
) -> Result<Answer, Outcome> {
    let table = table.ok_or(Outcome::INTERNAL)?;
    // SAFETY: `path` and `table` are map values, which live as long as the program runs.
    unsafe {
        let state = from_the_start(path, table)?;
        let accept = accepted(table, Part::FILES, state);
        Ok(Answer {
            below: advance(table, Part::FILES, state, u64::from(b'/')),
            granted: accept & rights::ALL,
            program: rights::program(accept),
            mode: (*table).header.files_mode,
        })
    }
}

/// The state that the whole of `path` leads to in the automaton of the files.
///
/// # Safety
/// `path` and `table` are map values.
#[inline(always)]
unsafe fn from_the_start<const WORDS: usize>(
    path: *mut Path,
    table: *const Table<WORDS>,
) -> Result<u32, Outcome> {
    // SAFETY: by contract.
    unsafe {
        let position = core::ptr::read_volatile(&raw const (*path).start);
        core::ptr::write_volatile(&raw mut (*path).position, position);
        core::ptr::write_volatile(&raw mut (*path).state, (*table).header.start);
        to_the_end(path, table, Part::FILES)
    }
}

/// Runs from where `path` says to its end; returns the state.
///
/// # Safety
/// `path` and `table` are map values.
#[inline(always)]
unsafe fn to_the_end<const WORDS: usize>(
    path: *mut Path,
    table: *const Table<WORDS>,
    part: Part,
) -> Result<u32, Outcome> {
    let mut context = Context { path, table, base: part.base };
    // The files' part is a constant in a callback of its own: most of what is matched is theirs, and each byte takes fewer instructions.
    let callback = match part.classes {
        0 => round::<WORDS> as *const (),
        _ => round_of_network::<WORDS> as *const (),
    };
    // SAFETY: by contract; the callback gets the address of a value on this frame's stack.
    unsafe {
        bpf_loop(
            ROUNDS,
            callback as *mut c_void,
            (&raw mut context).cast::<c_void>(),
            0,
        );
        if core::ptr::read_volatile(&raw const (*path).position) as usize != PATH_END {
            return Err(Outcome::INTERNAL);
        }
        Ok(core::ptr::read_volatile(&raw const (*path).state))
    }
}

/// What the network's automaton says of a Unix socket's path or abstract name, or of a host's name, port and all, which
/// stands in `path` from its start to [`PATH_END`]: accepted with what of `ringfence_abi::network`. `kind` is the first byte
/// of the question.
#[inline(always)]
pub fn text(path: *mut Path, label: Label, kind: u8) -> Result<u8, Outcome> {
    match match_text(path, label.table(), u32::from(label.size_class), u32::from(kind)) {
        // Lossless: what a state accepts with is a byte.
        accepted @ 0..FAILED => Ok(accepted as u8),
        _ => Err(Outcome::INTERNAL),
    }
}

/// [`text`], with what it answers in a register; [`FAILED`] for an error.
///
/// VERIFIER: a global function, as [`match_path`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_text(path: *mut Path, table: u32, size_class: u32, kind: u32) -> u32 {
    if path.is_null() {
        return FAILED;
    }
    by_size!(table, size_class, text_in(path, kind))
}

#[inline(always)]
fn text_in<const WORDS: usize>(
    path: *mut Path,
    kind: u32,
    table: Option<*mut Table<WORDS>>,
) -> u32 {
    let Some(table) = table else {
        return FAILED;
    };
    let table: *const Table<WORDS> = table;
    // SAFETY: `path` and `table` are map values, which live as long as the program runs.
    unsafe {
        let part = network(table);
        let start = core::ptr::read_volatile(&raw const (*table).header.network_start);
        let state = advance(table, part, start, u64::from(kind));
        let position = core::ptr::read_volatile(&raw const (*path).start);
        core::ptr::write_volatile(&raw mut (*path).position, position);
        core::ptr::write_volatile(&raw mut (*path).state, state);
        match to_the_end(path, table, part) {
            Ok(state) => u32::from(accepted(table, part, state)),
            Err(_) => FAILED,
        }
    }
}

/// The policy could not be found: the bit above those that a state accepts with.
///
/// VERIFIER: "R2 !read_ok" where a `Result` leaves one branch without its value.
pub const FAILED: u32 = 1 << 8;

/// What the network's automaton says of an address: accepted with what of `ringfence_abi::network`, or [`FAILED`]. Whether it
/// is one of IPv4, whose question begins in a known way, the caller finds out with less.
#[inline(always)]
pub fn address(label: Label, question: &[u8; ADDRESS_QUESTION], is_ipv4: bool) -> u32 {
    match_address(question, label.table(), u32::from(label.size_class), u32::from(is_ipv4))
}

/// VERIFIER: a global function, as [`match_path`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_address(
    question: *const [u8; ADDRESS_QUESTION],
    table: u32,
    size_class: u32,
    is_ipv4: u32,
) -> u32 {
    // SAFETY: a question, by the verifier's own account.
    match unsafe { question.as_ref() } {
        Some(question) => by_size!(table, size_class, address_in(question, is_ipv4)),
        None => FAILED,
    }
}

#[inline(always)]
fn address_in<const WORDS: usize>(
    question: &[u8; ADDRESS_QUESTION],
    is_ipv4: u32,
    table: Option<*mut Table<WORDS>>,
) -> u32 {
    let Some(table) = table else {
        return FAILED;
    };
    let table: *const Table<WORDS> = table;
    // SAFETY: `table` is a map value, and the index is below the array's length.
    unsafe {
        let part = network(table);
        let header = &raw const (*table).header;
        let state = match question.last_chunk::<{ ADDRESS_QUESTION - BEFORE_IPV4 }>() {
            Some(rest) if is_ipv4 != 0 => {
                let by_kind = (&raw const (*header).network_ipv4).cast::<u32>();
                let kind = usize::from(question[0] != CONNECT);
                through(table, part, core::ptr::read_volatile(by_kind.add(kind)), rest)
            }
            _ => through(table, part, core::ptr::read_volatile(&raw const (*header).network_start), question),
        };
        u32::from(accepted(table, part, state))
    }
}

/// Whether one of the states that names have led to goes on to accept this protocol and port; not if the policy cannot be
/// found.
#[inline(always)]
pub fn granted(label: Label, grant: *const Grant, question: &[u8; 3]) -> bool {
    match_granted(grant, question, label.table(), u32::from(label.size_class)) != 0
}

/// VERIFIER: a global function, as [`match_path`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_granted(
    grant: *const Grant,
    question: *const [u8; 3],
    table: u32,
    size_class: u32,
) -> u32 {
    if grant.is_null() {
        return 0;
    }
    // SAFETY: a question, by the verifier's own account.
    match unsafe { question.as_ref() } {
        Some(question) => u32::from(by_size!(table, size_class, granted_in(grant, question))),
        None => 0,
    }
}

#[inline(always)]
fn granted_in<const WORDS: usize>(
    grant: *const Grant,
    question: &[u8; 3],
    table: Option<*mut Table<WORDS>>,
) -> bool {
    let Some(table) = table else {
        return false;
    };
    let table: *const Table<WORDS> = table;
    let mut index = 0;
    while index < STATES {
        // SAFETY: `grant` and `table` are map values, and the index is below the array's length.
        unsafe {
            let states = (&raw const (*grant).states).cast::<u32>();
            let state = core::ptr::read_volatile(states.add(index));
            if state != automaton::DEAD {
                let part = network(table);
                let state = through(table, part, state, question);
                if accepted(table, part, state) & ringfence_abi::network::ALLOW != 0 {
                    return true;
                }
            }
        }
        index += 1;
    }
    false
}

/// The state after a few bytes.
///
/// # Safety
/// `table` is a map value.
#[inline(always)]
unsafe fn through<const WORDS: usize, const BYTES: usize>(
    table: *const Table<WORDS>,
    part: Part,
    state: u32,
    bytes: &[u8; BYTES],
) -> u32 {
    let mut state = state;
    let mut index = 0;
    while index < BYTES {
        // SAFETY: by contract.
        state = unsafe { advance(table, part, state, u64::from(bytes[index])) };
        index += 1;
    }
    state
}

/// Up to [`BYTES_A_ROUND`] bytes in the automaton of the files; returns 1 at the end of the path, or in a state that nothing leads out of.
extern "C" fn round<const WORDS: usize>(
    _index: u64,
    context: *mut Context<WORDS>,
) -> i64 {
    // SAFETY: `context` is the one that `in_table` passed, and both pointers are map values.
    unsafe {
        let path = (*context).path;
        let table = (*context).table;
        let position = u64::from(core::ptr::read_volatile(&raw const (*path).position));
        let mut state = core::ptr::read_volatile(&raw const (*path).state);
        let left = PATH_END as u64 - position;
        // Opaque, or LLVM asks for both at each byte.
        let count = bounded!(if left < BYTES_A_ROUND { left } else { BYTES_A_ROUND }, BYTES_A_ROUND);
        let at = bounded!(position, PATH_END as u64 - 1);
        let bytes = (&raw const (*path).bytes).cast::<u8>().add(at as usize);
        let mut index = 0;
        while index < count {
            state = advance(table, Part::FILES, state, u64::from(bytes.add(index as usize).read()));
            if automaton::is_sink(state) {
                return end(path, state);
            }
            index += 1;
        }
        if left == count {
            return end(path, state);
        }
        core::ptr::write_volatile(&raw mut (*path).state, state);
        core::ptr::write_volatile(&raw mut (*path).position, (position + count) as u32);
        0
    }
}

/// The same in the automaton of the network, to the end of the path only.
///
/// VERIFIER: "BPF program is too large" on Linux 6.1, where more is asked behind the match than of a file, and the loop ends in several
/// ways.
extern "C" fn round_of_network<const WORDS: usize>(
    _index: u64,
    context: *mut Context<WORDS>,
) -> i64 {
    // SAFETY: as in `round`.
    unsafe {
        let path = (*context).path;
        let table = (*context).table;
        let part = Part::network((*context).base);
        let mut position = u64::from(core::ptr::read_volatile(&raw const (*path).position));
        let mut state = core::ptr::read_volatile(&raw const (*path).state);
        let mut left = BYTES_A_ROUND;
        while left > 0 && position < PATH_END as u64 {
            let at = bounded!(position, PATH_END as u64 - 1);
            let byte = (&raw const (*path).bytes).cast::<u8>().add(at as usize).read();
            state = advance(table, part, state, u64::from(byte));
            position += 1;
            left -= 1;
        }
        core::ptr::write_volatile(&raw mut (*path).state, state);
        core::ptr::write_volatile(&raw mut (*path).position, position as u32);
        i64::from(position >= PATH_END as u64)
    }
}

/// The path leads to this state, and no byte of it counts any more.
///
/// # Safety
/// `path` is a map value.
#[inline(always)]
unsafe fn end(path: *mut Path, state: u32) -> i64 {
    // SAFETY: by contract.
    unsafe {
        core::ptr::write_volatile(&raw mut (*path).state, state);
        core::ptr::write_volatile(&raw mut (*path).position, PATH_END as u32);
    }
    1
}

/// One step: by the lowest byte of `byte`.
///
/// # Safety
/// `table` is a map value.
#[inline(always)]
unsafe fn advance<const WORDS: usize>(
    table: *const Table<WORDS>,
    part: Part,
    state: u32,
    byte: u64,
) -> u32 {
    let byte = bounded!(byte, 255);
    // SAFETY: `table` is a map value, and a byte is below the length of either array; the classes of the network lie behind those
    // of the files.
    let class = unsafe {
        (&raw const (*table).header.classes)
            .cast::<u8>()
            .add(part.classes as usize)
            .add(byte as usize)
            .read()
    };
    let name = part.base + u64::from(state);
    // SAFETY: as above.
    let entry = unsafe { halves_at::<WORDS, 1>(table, name + u64::from(class)) };
    match automaton::entered(state, entry) {
        Some(next) => next,
        // SAFETY: as above.
        None => unsafe { halves_at::<WORDS, 0>(table, name) }.0,
    }
}

/// What a state of an automaton accepts with.
///
/// # Safety
/// `table` is a map value.
#[inline(always)]
unsafe fn accepted<const WORDS: usize>(table: *const Table<WORDS>, part: Part, state: u32) -> u8 {
    // SAFETY: by contract.
    let (default, accept) = unsafe { halves_at::<WORDS, 0>(table, part.base + u64::from(state)) };
    automaton::rights(u64::from(accept) << 32 | u64::from(default))
}

/// The halves of the word that lies `BEHIND` words, none or one, behind one of the table: as part of the load this takes no
/// instruction, nor does a half take one to be told from the other. The loader has checked that no index of a valid state leaves the
/// table.
///
/// # Safety
/// `table` is a map value.
#[inline(always)]
unsafe fn halves_at<const WORDS: usize, const BEHIND: usize>(
    table: *const Table<WORDS>,
    index: u64,
) -> (u32, u32) {
    const { assert!(BEHIND <= 1) };
    let offset = bounded!(index * 8, (WORDS as u64 - 1) * 8);
    // SAFETY: the offset is a multiple of eight below the array's size, and the array is followed by one word.
    unsafe {
        let word = (&raw const (*table).words)
            .cast::<u8>()
            .add(offset as usize)
            .cast::<u64>()
            .add(BEHIND)
            .cast::<u32>();
        (word.read(), word.add(1).read())
    }
}
