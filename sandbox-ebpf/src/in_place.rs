//! The short way from what a hook is about to the rights of its path: names are matched where they lie, from the root down, and nothing is
//! copied. It answers for most and knows no denial: where it does not know, or the rights do not suffice, the walk decides.

use ringfence_abi::{
    automaton::{self, DEAD},
    layout::ABSENT,
    policy::{Label, SMALL_WORDS, Table},
    rights,
};

use crate::{
    kernel::{Typed, offset, read},
    mount_state,
    steps::{self, LEFT, Part},
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
    let namespaces = namespaces();
    match moves_of(vfsmount, namespaces) {
        Some(moves) => names(dentry, vfsmount, packed(label), moves, namespaces) as u8,
        None => 0,
    }
}

/// The rights of two names in one directory where no rule can tell them apart; none where one may, or where this way does not lead there.
#[inline(always)]
pub fn rights_of_siblings(label: Label, one: Typed, other: Typed, vfsmount: Typed) -> u8 {
    match moves_of(vfsmount, namespaces()) {
        Some(moves) => siblings(one, other, vfsmount, packed(label), moves) as u8,
        None => 0,
    }
}

/// What says that the path of a mount is still where it was found; 0 where no name stands above it.
#[inline(always)]
fn moves_of(vfsmount: Typed, namespaces: Typed) -> Option<u64> {
    if stands_on_the_root(vfsmount, namespaces) {
        return Some(0);
    }
    match mount_state::moves() {
        0 => None,
        moves => Some(moves),
    }
}

/// The key of the table in force, and its size class in the lowest byte.
#[inline(always)]
fn packed(label: Label) -> u64 {
    u64::from(label.table()) << 8 | u64::from(label.size_class)
}

/// The task's namespaces.
///
/// VERIFIER: looked for once where that can be. For each pointer that is loaded from the current task it searches all types of the kernel
/// for four names (kernel/bpf/verifier.c, `btf_nested_type_is_trusted`).
#[inline(always)]
fn namespaces() -> Typed {
    Typed::current_task().pointer(offset!(task_nsproxy))
}

/// Whether a mount stands on the root of the task's mount namespace, as the one does that a system runs from: what is below its root
/// has the path that names alone make. No is no answer.
#[inline(always)]
pub fn is_the_root(vfsmount: Typed) -> bool {
    stands_on_the_root(vfsmount, namespaces())
}

#[inline(always)]
fn stands_on_the_root(vfsmount: Typed, namespaces: Typed) -> bool {
    if offset!(namespace_root) == u64::from(ABSENT) {
        return false;
    }
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
///
/// VERIFIER: a function of its own, so that what comes behind is looked at once, and not for each name and size that it may have ended
/// with. It can have five arguments.
#[inline(never)]
extern "C" fn names(
    dentry: Typed,
    vfsmount: Typed,
    table: u64,
    moves: u64,
    namespaces: Typed,
) -> u64 {
    let (table, size_class) = ((table >> 8) as u32, table as u8);
    // Before the sizes part, as in `namespaces`: an argument of a hook is such a pointer as well.
    let parent = dentry.pointer(offset!(dentry_parent));
    u64::from(by_size!(table, size_class, names_in(dentry, parent, vfsmount, moves, namespaces)))
}

#[inline(always)]
fn names_in<const WORDS: usize>(
    dentry: Typed,
    parent: Typed,
    vfsmount: Typed,
    moves: u64,
    namespaces: Typed,
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
    let start = start_of(table, vfsmount, moves, namespaces);
    if dentry.address() == root.address() {
        return rights_of(table, start);
    }
    rights_of(table, with_name(table, dentry, eleven(table, root, parent, start)))
}

/// The same of two names: the rights of both where they lie in one directory and lead to one state, for then they have the same, enter
/// the same program, and so has all that lies below them. None where they do not.
///
/// VERIFIER: a function of its own, as [`names`].
#[inline(never)]
extern "C" fn siblings(one: Typed, other: Typed, vfsmount: Typed, table: u64, moves: u64) -> u64 {
    let parent = one.pointer(offset!(dentry_parent));
    if parent.address() != other.member::<u64>(offset!(dentry_parent)) {
        return 0;
    }
    let namespaces = namespaces();
    let (table, size_class) = ((table >> 8) as u32, table as u8);
    u64::from(by_size!(table, size_class, siblings_in(one, other, parent, vfsmount, moves, namespaces)))
}

#[inline(always)]
fn siblings_in<const WORDS: usize>(
    one: Typed,
    other: Typed,
    parent: Typed,
    vfsmount: Typed,
    moves: u64,
    namespaces: Typed,
    table: Option<*mut Table<WORDS>>,
) -> u8 {
    let Some(table) = table else {
        return 0;
    };
    let root = vfsmount.pointer(offset!(vfsmount_root));
    if root.address() == 0 {
        return 0;
    }
    let start = start_of(table, vfsmount, moves, namespaces);
    let before = twelve(table, root, parent, start);
    if automaton::is_sink(before) {
        return rights_of(table, before);
    }
    let one = through_name(table, one, u64::from(before));
    let other = through_name(table, other, u64::from(before));
    if one == other { rights_of(table, one as u32) } else { 0 }
}

/// The state that names below the root of a mount begin with; [`DEAD`] where its path is not known.
#[inline(always)]
fn start_of<const WORDS: usize>(
    table: *mut Table<WORDS>,
    vfsmount: Typed,
    moves: u64,
    namespaces: Typed,
) -> u32 {
    if moves == 0 {
        // SAFETY: `table` is a map value.
        return unsafe { (*table).header.start };
    }
    let mount = walk::mount_of(vfsmount.address());
    let namespace = namespaces.member::<u64>(offset!(nsproxy_mount_namespace));
    // SAFETY: as above.
    unsafe { mount_state::state((&raw mut (*table).header.mounts).cast(), mount, namespace, moves) }
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
            with_name(table, dentry, before)
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

/// The state after the name of a dentry in the directory that leads to `before`.
#[inline(always)]
fn with_name<const WORDS: usize>(table: *const Table<WORDS>, dentry: Typed, before: u32) -> u32 {
    if automaton::is_sink(before) {
        return before;
    }
    through_name(table, dentry, u64::from(before)) as u32
}

/// The state after a slash and the name of `dentry`; [`DEAD`] where the name does not lie in the dentry.
#[inline(always)]
fn through_name<const WORDS: usize>(table: *const Table<WORDS>, dentry: Typed, state: u64) -> u64 {
    // For tables of the size that most have it stands in each place: a hook takes 20 to 60 instructions less, and a program is larger by
    // a seventh, which the kernel takes longer to load.
    match WORDS {
        SMALL_WORDS => through_name_here(table, dentry, state),
        _ => through_name_there(table, dentry, state),
    }
}

/// In a place of its own.
#[inline(never)]
extern "C" fn through_name_there<const WORDS: usize>(
    table: *const Table<WORDS>,
    dentry: Typed,
    state: u64,
) -> u64 {
    through_name_here(table, dentry, state)
}

#[inline(always)]
fn through_name_here<const WORDS: usize>(
    table: *const Table<WORDS>,
    dentry: Typed,
    state: u64,
) -> u64 {
    let inline = match offset!(dentry_inline) {
        found if found == u64::from(ABSENT) => offset!(dentry_short_name),
        found => found,
    };
    let name = offset!(dentry_name);
    let length = u64::from(dentry.member::<u32>(name + offset!(name_length)));
    let bytes = dentry.member::<u64>(name + offset!(name_bytes));
    if bytes != dentry.beyond(inline) || length.wrapping_sub(1) >= INLINE_BYTES {
        return u64::from(DEAD);
    }
    // SAFETY: `table` is a map value.
    let state = u64::from(unsafe { steps::advance(table, Part::FILES, state as u32, u64::from(b'/')) });
    // Behind the slash of a directory that is allowed as a whole, mostly.
    if automaton::is_sink(state as u32) {
        return state;
    }
    let word = |at: u64| dentry.member::<u64>(inline + at);
    let state = steps::through_words(table, state | length << LEFT, word(0), word(8), word(16));
    if length <= 3 * 8 || automaton::is_sink(state as u32) {
        return state;
    }
    steps::through_words(table, state | (length - 3 * 8) << LEFT, word(24), 0, 0)
}
