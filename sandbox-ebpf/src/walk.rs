//! From a dentry and a mount to the absolute path in the task's mount namespace: one walk for all hooks.
//!
//! `bpf_d_path` would be shorter and is not used: it reports a file in a detached mount as if it lay at the root, follows
//! `chroot`, and is refused in most of the hooks (kernel/trace/bpf_trace.c, `bpf_d_path_allowed`).

use core::arch::asm;

use aya_ebpf::{
    cty::c_void,
    helpers::{
        bpf_get_current_task,
        generated::{bpf_loop, bpf_probe_read_kernel},
    },
};
use ringfence_abi::{event::cause, layout, limits};

use crate::{
    kernel::{Typed, offset, read},
    outcome::Outcome,
    scratch::{PATH_END, Path},
};

/// The walk has not ended.
const WALKING: u32 = 0;
/// The walk has reached the root of a mount namespace.
pub const COMPLETE: u32 = 255;
/// Steps of one round of the loop: enough for most paths, and the verifier follows each.
const STEPS_A_ROUND: usize = 8;
/// Names that are read by plain loads.
const DIRECT_STEPS: usize = 16;
/// A name that is shorter than this lies in its dentry on every kernel (include/linux/dcache.h, `DNAME_INLINE_LEN`: 32 or more).
pub const INLINE_BYTES: u64 = 31;
const ROUNDS: u32 = (limits::WALK_STEPS / STEPS_A_ROUND) as u32;
/// Of an offset.
const ABSENT: u64 = layout::ABSENT as u64;
/// `ERR_PTR(-EINVAL)`: the namespace of kernel-internal mounts (fs/mount.h, `MNT_NS_INTERNAL`).
const INTERNAL_NAMESPACE: u64 = -22i64 as u64;

/// `d_parent` and `d_name`, which lie side by side (include/linux/dcache.h); the loader checks that they do.
#[repr(C)]
#[derive(Clone, Copy)]
struct Link {
    parent: u64,
    hash: u32,
    length: u32,
    name: u64,
}

/// [`Link`], and what lies behind it in a dentry: `d_inode`, and the name itself where it is short.
#[repr(C)]
#[derive(Clone, Copy)]
struct Near {
    link: Link,
    inode: u64,
    bytes: [u64; 4],
}

/// The `struct mount` around a `struct vfsmount`.
#[inline(always)]
pub fn mount_of(vfsmount: u64) -> u64 {
    vfsmount.wrapping_sub(offset!(mount_vfsmount))
}

/// Builds the path of `dentry` in `mount` (a `struct mount`), absolute in the current task's mount namespace.
#[inline(always)]
pub fn absolute(path: *mut Path, dentry: u64, mount: u64) -> Result<(), Outcome> {
    let mount_root = read::<u64>(mount + offset!(mount_vfsmount) + offset!(vfsmount_root))?;
    begin(path, dentry, mount, mount_root);
    in_namespace(reached(path)?, current_namespace()?)
}

/// The same for a dentry and a mount whose types the verifier knows: up to the root of the mount names are read by plain loads.
#[inline(always)]
pub fn absolute_typed(path: *mut Path, dentry: Typed, vfsmount: Typed) -> Result<(), Outcome> {
    let mount_root = vfsmount.member::<u64>(offset!(vfsmount_root));
    begin(path, dentry.address(), mount_of(vfsmount.address()), mount_root);
    directly(path, dentry);
    let mount = reached(path)?;
    // A task on its way out has none, and a mount that is nowhere has none either: they are not the same.
    let namespaces = Typed::current_task().pointer(offset!(task_nsproxy)).known()?;
    let own = namespaces.member::<u64>(offset!(nsproxy_mount_namespace));
    in_namespace(mount, own)
}

/// Goes on from where `path` says to the root of a mount namespace; the mount that it ends in.
#[inline(always)]
fn reached(path: *mut Path) -> Result<u64, Outcome> {
    match walk_on(path) {
        // Lossless: causes are bytes.
        cause @ 1..=255 => Err(Outcome(cause as u8)),
        mount => Ok(mount),
    }
}

/// [`reached`], with what it answers in a register: no mount lies where a cause could be meant.
///
/// VERIFIER: a global function, as `matching::match_path`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_on(path: *mut Path) -> u64 {
    if path.is_null() {
        return u64::from(cause::INTERNAL);
    }
    // Mostly this is the root of all, and the loop need not be set up.
    match step_at_once(path) {
        Ok(()) => to_the_root(path),
        // SAFETY: `path` is a path, by the verifier's own account.
        Err(outcome) => unsafe { core::ptr::write_volatile(&raw mut (*path).outcome, outcome) },
    }
    match ended(path) {
        Ok(mount) => mount,
        Err(Outcome(cause)) => u64::from(cause),
    }
}

#[inline(always)]
fn to_the_root(path: *mut Path) {
    // SAFETY: `path` is a map value; the callback gets it back through a pointer on this frame's stack.
    unsafe {
        let mut context = Context { path };
        bpf_loop(
            ROUNDS,
            round as *const () as *mut c_void,
            (&raw mut context).cast::<c_void>(),
            0,
        );
    }
}

/// How the walk ended; the mount that it ended in.
#[inline(always)]
fn ended(path: *mut Path) -> Result<u64, Outcome> {
    // SAFETY: `path` is a map value.
    let (outcome, mount) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*path).outcome),
            core::ptr::read_volatile(&raw const (*path).mount),
        )
    };
    match outcome {
        COMPLETE => {
            name_the_root(path);
            Ok(mount)
        }
        WALKING => Err(Outcome(cause::TOO_DEEP)),
        // Lossless: outcomes but COMPLETE and WALKING are causes.
        other => Err(Outcome(other as u8)),
    }
}

struct Context {
    path: *mut Path,
}

#[inline(always)]
fn begin(path: *mut Path, dentry: u64, mount: u64, mount_root: u64) {
    // SAFETY: `path` is a map value.
    unsafe {
        core::ptr::write_volatile(&raw mut (*path).dentry, dentry);
        core::ptr::write_volatile(&raw mut (*path).mount, mount);
        core::ptr::write_volatile(&raw mut (*path).mount_root, mount_root);
        core::ptr::write_volatile(&raw mut (*path).start, PATH_END as u32);
        core::ptr::write_volatile(&raw mut (*path).outcome, WALKING);
    }
}

/// As far as plain loads go: to the root of the mount, or to a name that does not lie in its dentry. What ends this otherwise is
/// left to [`step`], which looks at it again and says what it is.
///
/// VERIFIER: a function of its own, so that nothing of its stack is left where it ends. Linux 6.1 would otherwise follow what comes
/// behind for each round that the loop may have taken.
#[inline(never)]
extern "C" fn directly(path: *mut Path, dentry: Typed) -> u64 {
    let inline = inline_name();
    let mut dentry = dentry;
    let mut start = PATH_END as u64;
    let mut steps = 0;
    while steps < DIRECT_STEPS {
        // SAFETY: `path` is a map value. From memory, these are numbers: the verifier does not let pointers be compared with sums.
        let (here, mount_root) = unsafe {
            core::ptr::write_volatile(&raw mut (*path).dentry, dentry.address());
            core::ptr::write_volatile(&raw mut (*path).start, start as u32);
            (
                core::ptr::read_volatile(&raw const (*path).dentry),
                core::ptr::read_volatile(&raw const (*path).mount_root),
            )
        };
        let parent = dentry.pointer(offset!(dentry_parent));
        let name = offset!(dentry_name);
        let length = u64::from(dentry.member::<u32>(name + offset!(name_length)));
        let bytes = dentry.member::<u64>(name + offset!(name_bytes));
        if here == mount_root
            || bytes != here.wrapping_add(inline)
            || length.wrapping_sub(1) >= INLINE_BYTES
            || start <= length + 1
        {
            return 0;
        }
        let name = [
            dentry.member(inline),
            dentry.member(inline + 8),
            dentry.member(inline + 16),
            dentry.member(inline + 24),
        ];
        // SAFETY: `path` is a map value.
        let slash_at = unsafe { put_short(path, start, length, name) };
        start = slash_at;
        dentry = parent;
        steps += 1;
    }
    // SAFETY: as above.
    unsafe {
        core::ptr::write_volatile(&raw mut (*path).dentry, dentry.address());
        core::ptr::write_volatile(&raw mut (*path).start, start as u32);
    }
    0
}

/// Eight bytes of a map's value, wherever they begin.
#[inline(always)]
unsafe fn load<const OFFSET: usize>(base: *const u8) -> u64 {
    let value: u64;
    // SAFETY: by contract.
    unsafe {
        asm!(
            "{value} = *(u64 *)({base} + {offset})",
            value = out(reg) value,
            base = in(reg) base,
            offset = const OFFSET,
            options(nostack),
        );
    }
    value
}

/// Writes them.
#[inline(always)]
unsafe fn store<const OFFSET: usize>(base: *mut u8, value: u64) {
    // SAFETY: by contract.
    unsafe {
        asm!(
            "*(u64 *)({base} + {offset}) = {value}",
            value = in(reg) value,
            base = in(reg) base,
            offset = const OFFSET,
            options(nostack),
        );
    }
}

/// Up to [`STEPS_A_ROUND`] steps; returns 1 when the walk has ended.
extern "C" fn round(_index: u64, context: *mut Context) -> i64 {
    // SAFETY: `context` is the one that `absolute` passed.
    let path = unsafe { (*context).path };
    let mut steps = 0;
    while steps < STEPS_A_ROUND {
        if let Err(outcome) = step_at_once(path) {
            // SAFETY: `path` is a map value.
            unsafe { core::ptr::write_volatile(&raw mut (*path).outcome, outcome) };
            return 1;
        }
        steps += 1;
    }
    0
}

/// As [`step`]: a short name is read at once with what leads to it. All else is left to [`step`].
#[inline(always)]
fn step_at_once(path: *mut Path) -> Result<(), u32> {
    let inline = inline_name();
    // SAFETY: `path` is a map value.
    let (dentry, mount_root, start) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*path).dentry),
            core::ptr::read_volatile(&raw const (*path).mount_root),
            u64::from(core::ptr::read_volatile(&raw const (*path).start)),
        )
    };
    if dentry == mount_root || inline != offset!(dentry_parent) + size_of::<Link>() as u64 + 8 {
        return step(path);
    }
    let Ok(near) = read::<Near>(dentry + offset!(dentry_parent)) else {
        return step(path);
    };
    let length = u64::from(near.link.length);
    if near.link.parent == dentry
        || near.link.name != dentry.wrapping_add(inline)
        || length.wrapping_sub(1) >= INLINE_BYTES
        || start <= length + 1
    {
        return step(path);
    }
    // SAFETY: `path` is a map value.
    let slash_at = unsafe { put_short(path, start, length, near.bytes) };
    // SAFETY: as above.
    unsafe {
        core::ptr::write_volatile(&raw mut (*path).start, slash_at as u32);
        core::ptr::write_volatile(&raw mut (*path).dentry, near.link.parent);
    }
    Ok(())
}

/// Where names that lie in their dentry begin in it.
#[inline(always)]
fn inline_name() -> u64 {
    match offset!(dentry_inline) {
        ABSENT => offset!(dentry_short_name),
        found => found,
    }
}

/// Puts `/` and a name that is shorter than [`INLINE_BYTES`] before what is there. Where the slash is.
///
/// # Safety
/// `path` is a map value.
#[inline(always)]
unsafe fn put_short(path: *mut Path, start: u64, length: u64, name: [u64; 4]) -> u64 {
    let at = bounded!(start - length, PATH_END as u64 - 1);
    let slash_at = bounded!(start - length - 1, PATH_END as u64 - 1);
    let end = bounded!(start, 2 * PATH_END as u64 - 1);
    // SAFETY: all offsets are those of 32 bytes in the buffer, which is twice as long as a path may be.
    unsafe {
        let all = (&raw mut (*path).bytes).cast::<u8>();
        let (to, behind) = (all.add(at as usize), all.add(end as usize));
        // All that a short name can take is copied, and what that covers of the names behind is put back.
        let kept = [load::<0>(behind), load::<8>(behind), load::<16>(behind), load::<24>(behind)];
        store::<0>(to, name[0]);
        store::<8>(to, name[1]);
        store::<16>(to, name[2]);
        store::<24>(to, name[3]);
        store::<0>(behind, kept[0]);
        store::<8>(behind, kept[1]);
        store::<16>(behind, kept[2]);
        store::<24>(behind, kept[3]);
        all.add(slash_at as usize).write_volatile(b'/');
    }
    slash_at
}

/// One step towards the root: over a mount's edge, or one name. `Err` holds how the walk ended.
#[inline(always)]
fn step(path: *mut Path) -> Result<(), u32> {
    // SAFETY: `path` is a map value.
    let (dentry, mount, mount_root, start) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*path).dentry),
            core::ptr::read_volatile(&raw const (*path).mount),
            core::ptr::read_volatile(&raw const (*path).mount_root),
            core::ptr::read_volatile(&raw const (*path).start),
        )
    };
    let internal = |_| u32::from(cause::INTERNAL);
    if dentry == mount_root {
        let parent = read::<u64>(mount + offset!(mount_parent)).map_err(internal)?;
        if parent == mount {
            return Err(COMPLETE);
        }
        let mountpoint = read::<u64>(mount + offset!(mount_mountpoint)).map_err(internal)?;
        let mount_root =
            read::<u64>(parent + offset!(mount_vfsmount) + offset!(vfsmount_root)).map_err(internal)?;
        // SAFETY: `path` is a map value.
        unsafe {
            core::ptr::write_volatile(&raw mut (*path).dentry, mountpoint);
            core::ptr::write_volatile(&raw mut (*path).mount, parent);
            core::ptr::write_volatile(&raw mut (*path).mount_root, mount_root);
        }
        return Ok(());
    }
    let link = read::<Link>(dentry + offset!(dentry_parent)).map_err(internal)?;
    if link.parent == dentry {
        return Err(u32::from(cause::ANONYMOUS));
    }
    let length = link.length;
    if length as usize > limits::NAME_BYTES || start <= length + 1 {
        return Err(u32::from(cause::TOO_LONG));
    }
    prepend(path, start, length, link.name).map_err(internal)?;
    // SAFETY: `path` is a map value.
    unsafe { core::ptr::write_volatile(&raw mut (*path).dentry, link.parent) };
    Ok(())
}

/// Puts `/` and the name before what is there.
#[inline(always)]
fn prepend(path: *mut Path, start: u32, length: u32, name: u64) -> Result<(), Outcome> {
    let name_at = bounded!(u64::from(start - length), PATH_END as u64 - 1);
    let slash_at = bounded!(u64::from(start - length - 1), PATH_END as u64 - 1);
    let length = bounded!(u64::from(length), 255);
    // SAFETY: both offsets are below PATH_END and the length at most 255, so that all of it lies in the buffer.
    unsafe {
        let bytes = (&raw mut (*path).bytes).cast::<u8>();
        let failed = bpf_probe_read_kernel(
            bytes.add(name_at as usize).cast::<c_void>(),
            length as u32,
            name as *const c_void,
        );
        if failed != 0 {
            return Err(Outcome::INTERNAL);
        }
        bytes.add(slash_at as usize).write_volatile(b'/');
        core::ptr::write_volatile(&raw mut (*path).start, slash_at as u32);
    }
    Ok(())
}

/// The root directory itself has no name: its path is a lone slash.
#[inline(always)]
fn name_the_root(path: *mut Path) {
    // SAFETY: `path` is a map value.
    unsafe {
        if core::ptr::read_volatile(&raw const (*path).start) == PATH_END as u32 {
            core::ptr::write_volatile(&raw mut (*path).bytes[PATH_END - 1], b'/');
            core::ptr::write_volatile(&raw mut (*path).start, PATH_END as u32 - 1);
        }
    }
}

/// `$value & $mask`, opaque to the optimiser. The mask is part of the instruction, and takes no register.
///
/// VERIFIER: "math between map_value pointer and register with unbounded min value is not allowed" when LLVM moves the
/// mask away from the addition that needs it.
macro_rules! bounded {
    ($value:expr, $mask:expr $(,)?) => {{
        let mut value: u64 = $value;
        // SAFETY: one register, no memory.
        #[allow(unused_unsafe)]
        unsafe {
            core::arch::asm!(
                "{0} &= {1}",
                inout(reg) value,
                const $mask,
                options(pure, nomem, nostack)
            );
        }
        value
    }};
}
pub(crate) use bounded;

/// Whether the walk ended at the root of the mount namespace `own`, and not in a detached or foreign mount.
#[inline(always)]
fn in_namespace(mount: u64, own: u64) -> Result<(), Outcome> {
    if read::<u64>(mount + offset!(mount_namespace))? == own {
        Ok(())
    } else {
        Err(Outcome(cause::FOREIGN))
    }
}

/// The current task's mount namespace.
#[inline(always)]
pub fn current_namespace() -> Result<u64, Outcome> {
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    let nsproxy = read::<u64>(task + offset!(task_nsproxy))?;
    read::<u64>(nsproxy + offset!(nsproxy_mount_namespace))
}

/// Whether `mount` is private to the kernel: memory files and pipes, and the layers of a stacked filesystem.
#[inline(always)]
pub fn is_internal(mount: u64) -> Result<bool, Outcome> {
    Ok(read::<u64>(mount + offset!(mount_namespace))? == INTERNAL_NAMESPACE)
}
