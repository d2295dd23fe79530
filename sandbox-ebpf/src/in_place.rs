//! The short way from an open file to the rights of its path: names are matched where they lie, from the root down, and nothing is
//! copied. It answers for most opens and knows no denial: where it does not know, or the rights do not suffice, the walk decides.

use ringfence_abi::{
    automaton::{self, DEAD},
    layout::ABSENT,
    policy::Label,
};

use crate::{
    kernel::{Typed, offset, read},
    matching, mount_state,
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
        Some(moves) => matching::in_place(label, dentry, vfsmount, moves),
        None => 0,
    }
}

/// The rights of two names in one directory where no rule can tell them apart; none where one may, or where this way does not lead there.
#[inline(always)]
pub fn rights_of_siblings(label: Label, one: Typed, other: Typed, vfsmount: Typed) -> u8 {
    match moves_of(vfsmount) {
        Some(moves) => matching::siblings_in_place(label, one, other, vfsmount, moves),
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

/// The state after `/` and the name of `dentry`, from `state`; [`DEAD`] where the name does not lie in the dentry. `advance` goes by the
/// lowest byte.
///
/// VERIFIER: who calls this makes it a function of its own, so that nothing of its stack is left where it ends.
#[inline(always)]
pub fn through_name(dentry: Typed, state: u32, advance: impl Fn(u32, u64) -> u32) -> u32 {
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
