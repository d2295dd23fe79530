//! Whose socket it is: that of the fence in whose cgroup it was made.
//!
//! A socket keeps the cgroup of the task that made it, and hands it to the connections that it accepts (net/core/sock.c,
//! `sk_alloc`; kernel/cgroup/cgroup.c, `cgroup_sk_alloc`, `cgroup_sk_clone`). The programs on a cgroup run for the sockets of
//! that cgroup: what is not in it is out of their sight, and is taken for somebody else's.

use ringfence_abi::{layout::ABSENT, limits::CGROUP_DEPTH, policy::Label};

use crate::{
    kernel::{offset, read},
    maps::CGROUPS,
};

/// Whether a `struct sock` was made in the cgroup of this fence, or below; not if that cannot be found out.
#[inline(always)]
pub fn is_own(label: Label, sock: u64) -> bool {
    if offset!(sock_cgroup) == u64::from(ABSENT) {
        return false;
    }
    let mut cgroup = read::<u64>(sock + offset!(sock_cgroup)).unwrap_or(0);
    let mut depth = 0;
    while depth < CGROUP_DEPTH && cgroup != 0 {
        let node = read::<u64>(cgroup + offset!(cgroup_node)).unwrap_or(0);
        let id = read::<u64>(node + offset!(node_id)).unwrap_or(0);
        // SAFETY: entries are written whole before tasks can enter the cgroup.
        if let Some(found) = unsafe { CGROUPS.get(id) }
            && found.fence == label.fence
        {
            return true;
        }
        let state = cgroup + offset!(cgroup_self) + offset!(css_parent);
        let parent = read::<u64>(state).unwrap_or(0);
        if parent == 0 {
            return false;
        }
        cgroup = parent.wrapping_sub(offset!(cgroup_self));
        depth += 1;
    }
    false
}
