//! The short way from what a hook is about to the rights of its path: names are matched where they lie, from the root down, and nothing is
//! copied. It answers for most and knows no denial: where it does not know, or the rights do not suffice, the walk decides.

use ringfence_abi::{
    automaton::{self, DEAD},
    layout::ABSENT,
    policy::{Label, Table},
    rights,
};

use crate::{
    kernel::{Typed, offset, read},
    mount_state,
    steps::{self, Part},
    table::by_size,
    walk::{self, INLINE_BYTES},
};

/// `mnt_parent` and `mnt_mountpoint`, which lie side by side (fs/mount.h); the loader checks that they do.
#[repr(C)]
#[derive(Clone, Copy)]
struct Edge {
    parent: u64,
    mountpoint: u64,
}

/// The rights that the policy in force gives to the path of `dentry` in `vfsmount`; none where this way does not lead there.
#[inline(always)]
pub fn rights(label: Label, dentry: Typed, vfsmount: Typed) -> u8 {
    match moves_of(vfsmount) {
        Some(moves) => in_table(label, dentry, vfsmount, moves),
        None => 0,
    }
}

/// The rights of two names in one directory where no rule can tell them apart; none where one may, or where this way does not lead there.
#[inline(always)]
pub fn rights_of_siblings(label: Label, one: Typed, other: Typed, vfsmount: Typed) -> u8 {
    match moves_of(vfsmount) {
        Some(moves) => siblings_in_table(label, one, other, vfsmount, moves),
        None => 0,
    }
}

/// What says that the path of a mount is still where it was found; 0 where no name stands above it.
#[inline(always)]
fn moves_of(vfsmount: Typed) -> Option<u64> {
    if is_the_root(vfsmount) {
        return Some(0);
    }
    match mount_state::moves() {
        0 => None,
        moves => Some(moves),
    }
}

/// The task's mount namespace.
#[inline(always)]
pub fn namespace() -> u64 {
    Typed::current_task()
        .pointer(offset!(task_nsproxy))
        .member::<u64>(offset!(nsproxy_mount_namespace))
}

/// Whether a mount stands on the root of the task's mount namespace, as the one does that a system runs from: what is below its root
/// has the path that names alone make. No is no answer.
#[inline(always)]
pub fn is_the_root(vfsmount: Typed) -> bool {
    if offset!(namespace_root) == u64::from(ABSENT) {
        return false;
    }
    let namespaces = Typed::current_task().pointer(offset!(task_nsproxy));
    let namespace = namespaces.pointer(offset!(nsproxy_mount_namespace));
    let root = namespace.pointer(offset!(namespace_root));
    let top = root.member::<u64>(offset!(mount_vfsmount) + offset!(vfsmount_root));
    let mount = walk::mount_of(vfsmount.address());
    let Ok(edge) = read::<Edge>(mount + offset!(mount_parent)) else {
        return false;
    };
    // Where a load has faulted there is a 0, and a mount's parent is none. One that has itself for its parent stands on none.
    edge.parent != 0 && edge.parent != mount && edge.parent == root.address() && edge.mountpoint == top
}

/// The rights of `dentry` in `vfsmount`, whose path is made of the names between them, behind the path of the mount where `moves` is not
/// 0; none where one of these does not lie in its dentry, where they are more than a few, or where the mount's path is not known.
#[inline(always)]
fn in_table(label: Label, dentry: Typed, vfsmount: Typed, moves: u64) -> u8 {
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
fn siblings_in_table(label: Label, one: Typed, other: Typed, vfsmount: Typed, moves: u64) -> u8 {
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
                mount_state::state((&raw mut (*table).header.mounts).cast(), mount, namespace(), moves)
            }
        }
    }
}

/// What a state accepts with, rights alone.
#[inline(always)]
fn rights_of<const WORDS: usize>(table: *const Table<WORDS>, state: u32) -> u8 {
    // SAFETY: `table` is a map value.
    unsafe { steps::accepted(table, Part::FILES, state) & rights::ALL }
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
    let step = |state, byte| unsafe { steps::advance(table, Part::FILES, state, byte) };
    u64::from(by_bytes(dentry, state as u32, step))
}

/// The state after `/` and the name of `dentry`, from `state`; [`DEAD`] where the name does not lie in the dentry. `advance` goes by the
/// lowest byte.
///
/// VERIFIER: who calls this makes it a function of its own, so that nothing of its stack is left where it ends.
#[inline(always)]
fn by_bytes(dentry: Typed, state: u32, advance: impl Fn(u32, u64) -> u32) -> u32 {
    let inline = match offset!(dentry_inline) {
        found if found == u64::from(ABSENT) => offset!(dentry_short_name),
        found => found,
    };
    let name = offset!(dentry_name);
    let length = u64::from(dentry.member::<u32>(name + offset!(name_length)));
    let bytes = dentry.member::<u64>(name + offset!(name_bytes));
    if bytes != dentry.beyond(inline) || length.wrapping_sub(1) >= INLINE_BYTES {
        return DEAD;
    }
    let mut state = advance(state, u64::from(b'/'));
    let mut left = length;
    let mut at = 0;
    while at < INLINE_BYTES + 1 {
        let mut word = dentry.member::<u64>(inline + at);
        let mut index = 0;
        while index < 8 {
            if automaton::is_sink(state) || index == left {
                return state;
            }
            state = advance(state, word);
            word >>= 8;
            index += 1;
        }
        left = left.wrapping_sub(8);
        at += 8;
    }
    state
}
