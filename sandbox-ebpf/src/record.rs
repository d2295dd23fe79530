//! Recording: what a command does is told once, and counted after that. Nothing is denied here.
//!
//! Two ways lead here, one or the other is attached: [`crate::record_calls`], the system calls that succeeded, and
//! [`crate::record_hooks`], the hooks that a fence would judge at.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::bpf_dynptr,
    btf_maps::HashMap,
    cty::c_void,
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task,
        generated::{
            bpf_dynptr_write, bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str,
            bpf_probe_read_user_str, bpf_ringbuf_discard_dynptr, bpf_ringbuf_query,
            bpf_ringbuf_reserve_dynptr, bpf_ringbuf_submit_dynptr,
        },
    },
};
use ringfence_abi::{
    event::{cause, operation},
    limits,
    record::{
        AT_EXEC, Act, BY_CGROUP, BY_EXEC, BY_ONE, BY_TASK, Known, NAMELESS, PASSED, PROGRAM, Recording, Seen,
        Tally,
    },
    rights,
};

use crate::{
    abstract_name::{self, BEFORE_NAME, Memory},
    atomic,
    kernel::{Typed, offset},
    maps::{EXECUTING, RECORDED, RECORDED_BY, RECORDED_TASKS, RECORDINGS, RECORDS, SEEN},
    outcome::Outcome,
    scratch::{self, KEPT_WORDS, PATH_END, Path, Slot},
    siphash,
    verdict::Object,
    walk::{self, bounded},
    zero::zeroed,
};

/// `BPF_NOEXIST` (include/uapi/linux/bpf.h).
const NO_EXIST: u64 = 1;
/// `BPF_RB_NO_WAKEUP`, `BPF_RB_FORCE_WAKEUP` and `BPF_RB_AVAIL_DATA`, likewise.
const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;
const AVAILABLE_DATA: u64 = 0;
/// `-EEXIST`.
const EXISTS: i32 = -17;
/// Room for a name that was passed: behind the slash at [`PATH_END`], to the end of the buffer.
const NAME_ROOM: u32 = PATH_END as u32 - 1;

/// The acts that one recording has told.
type Told = HashMap<Seen, u64, { limits::SEEN as usize }>;

/// Bytes of a path's buffer: up to [`PATH_END`] what the kernel named, then what the program passed.
#[derive(Clone, Copy)]
pub struct Extent {
    start: u32,
    end: u32,
}

impl Extent {
    /// No path.
    pub const NONE: Self = Self { start: 0, end: 0 };
}

/// Where a name that was passed lies.
#[derive(Clone, Copy)]
pub enum Name {
    /// There is none: the object itself is meant.
    None,
    /// In the program's memory.
    User(u64),
    /// In the kernel's.
    Kernel(u64),
}

/// The recording that the current task belongs to, once its command has begun.
#[inline(always)]
pub fn current() -> Option<*mut Recording> {
    let recording = recording()?;
    // SAFETY: a map value lives as long as the program runs.
    let begun = unsafe { core::ptr::read_volatile(&raw const (*recording).begun) };
    (begun != 0).then_some(recording)
}

/// The same, whether it has begun or not. Where nothing is recorded, the first look answers.
#[inline(always)]
pub fn recording() -> Option<*mut Recording> {
    let known = RECORDED_BY.get_ptr_mut(only())?;
    let (by, number) = how(known);
    if by == 0 {
        return None;
    }
    let mut found = None;
    if by & (BY_ONE | BY_CGROUP) != 0 {
        // SAFETY: the helper has no precondition, and a map value lives as long as the program runs.
        let (own, one) = unsafe {
            (bpf_get_current_cgroup_id(), core::ptr::read_volatile(&raw const (*known).cgroup))
        };
        if by & BY_ONE != 0 && own == one {
            found = Some(number);
        } else if by & BY_CGROUP != 0 {
            // SAFETY: an entry is written once, by user space.
            found = unsafe { RECORDED.get(own) }.copied();
            found = found.filter(|number| number & AT_EXEC == 0);
        }
    }
    if found.is_none() && by & BY_TASK != 0 {
        found = number_of_thread(thread());
    }
    RECORDINGS.get_ptr_mut(found?)
}

/// The recording that a thread belongs to wherever it stands.
#[inline(always)]
pub fn number_of_thread(thread: u32) -> Option<u32> {
    // SAFETY: an entry is written before its task runs, by the task itself, or by user space.
    unsafe { RECORDED_TASKS.get(thread) }.map(|number| number & !AT_EXEC)
}

/// Whether tasks are taken in at their exec.
#[inline(always)]
pub fn takes_in() -> bool {
    RECORDED_BY.get_ptr_mut(only()).is_some_and(|known| how(known).0 & BY_EXEC != 0)
}

/// How tasks are known, and the recording of the one cgroup: by one load, so that they belong together.
#[inline(always)]
fn how(known: *mut Known) -> (u32, u32) {
    // SAFETY: a map value lives as long as the program runs, and is aligned to eight bytes.
    let both = unsafe { core::ptr::read_volatile(known.cast::<u64>()) };
    (both as u32, (both >> 32) as u32)
}

/// The current thread, as the initial pid namespace numbers it.
#[inline(always)]
pub fn thread() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

/// Adds to the counter at `offset` of [`Tally`].
#[inline(always)]
pub fn count(recording: *mut Recording, offset: usize) {
    // SAFETY: `recording` is a map value, and the offset is that of one of the tally's fields.
    unsafe {
        let tally = (&raw mut (*recording).tally).cast::<u8>();
        atomic::add(tally.add(offset).cast::<u64>(), 1);
    }
}

/// Sets bits of the word at `offset` of [`Tally`].
#[inline(always)]
pub fn mark(recording: *mut Recording, offset: usize, bits: u64) {
    // SAFETY: as above; callers bound the offset.
    unsafe {
        let word = (&raw mut (*recording).tally).cast::<u8>().add(offset).cast::<u64>();
        // Almost always they are set: a read is cheaper.
        if core::ptr::read_volatile(word) & bits != bits {
            atomic::set(word, bits);
        }
    }
}

/// The index of the only element, not a constant that could be merged with a global that the loader changes.
#[inline(always)]
fn only() -> u32 {
    core::hint::black_box(0)
}

/// Runs `work` with a slot and the hash of the current program; what fails is counted as not read.
#[inline(always)]
pub fn with_program(
    recording: *mut Recording,
    work: impl FnOnce(*mut Slot, u64) -> Result<(), Outcome>,
) {
    let Ok(slot) = scratch::take() else {
        count(recording, offset_of!(Tally, unread));
        return;
    };
    // SAFETY: both are map values.
    unsafe {
        (*slot).recording = u64::from((*recording).number);
        (*slot).token = (*recording).token;
    }
    let done = match program(slot) {
        Ok(program) => work(slot, program),
        Err(outcome) => Err(outcome),
    };
    if done.is_err() {
        count(recording, offset_of!(Tally, unread));
    }
    scratch::release(slot);
}

/// The hash of the path of the program that the current task executes; told the first time. Uses the slot's `other`.
#[inline(always)]
fn program(slot: *mut Slot) -> Result<u64, Outcome> {
    let file = Typed::current_task().pointer(offset!(task_memory)).pointer(offset!(memory_program));
    let Ok(file) = file.known() else {
        return Ok(0);
    };
    let place = offset!(file_path);
    let dentry = file.pointer(place + offset!(path_dentry)).known()?;
    let vfsmount = file.pointer(place + offset!(path_mount)).known()?;
    // SAFETY: `slot` is a map value.
    let other = unsafe { &raw mut (*slot).other };
    let found = built_by_loads(other, dentry, vfsmount);
    if found == 0 {
        return Ok(0);
    }
    // SAFETY: `slot` is a map value.
    if unsafe { is_last(slot, found) } {
        // SAFETY: likewise.
        return Ok(unsafe { (*slot).last.hash });
    }
    let extent = Extent { start: found, end: PATH_END as u32 };
    let program = hash(other, extent)?;
    let seen = Seen { program, operation: PROGRAM, ..Seen::default() };
    if submit(slot, seen, Extent::NONE, extent) {
        // SAFETY: likewise.
        unsafe { keep(slot, found, program) };
    }
    Ok(program)
}

/// The word that ends so many words before the end of a path.
///
/// # Safety
/// `path` is in a map value, and `back` is 1 to [`KEPT_WORDS`].
#[inline(always)]
unsafe fn word_of(path: *const Path, back: usize) -> u64 {
    // SAFETY: by contract; the buffer is aligned to eight bytes, and so is where paths end in it.
    unsafe { (&raw const (*path).bytes).cast::<u64>().add(PATH_END / 8 - back).read_volatile() }
}

/// Whether the path in the slot's `other`, from `start` on, is that of the program that was told last, to the same recording.
///
/// # Safety
/// `slot` is a map value.
#[inline(always)]
unsafe fn is_last(slot: *mut Slot, start: u32) -> bool {
    // SAFETY: by contract.
    let (last, other) = unsafe { (&raw const (*slot).last, &raw const (*slot).other) };
    // SAFETY: likewise.
    let is_alike = unsafe { (*last).token == (*slot).token && (*last).start == u64::from(start) };
    if !is_alike {
        return false;
    }
    let mut back = 1;
    let mut left = PATH_END as u32 - start;
    while back <= KEPT_WORDS {
        // SAFETY: by contract, and the loop's bounds are those of the words.
        let mut differs = unsafe { word_of(other, back) ^ (*last).words[back - 1] };
        if left < 8 {
            // What lies before the path begins does not count.
            differs >>= 64 - 8 * u64::from(left & 7);
        }
        if differs != 0 {
            return false;
        }
        if left <= 8 {
            return true;
        }
        left -= 8;
        back += 1;
    }
    false
}

/// Keeps who was told, where all of the path can be kept.
///
/// # Safety
/// `slot` is a map value.
#[inline(always)]
unsafe fn keep(slot: *mut Slot, start: u32, hash: u64) {
    if PATH_END as u32 - start > 8 * KEPT_WORDS as u32 {
        return;
    }
    // SAFETY: by contract; the loop's bounds are those of the words.
    unsafe {
        let last = &raw mut (*slot).last;
        let other = &raw const (*slot).other;
        let mut back = 1;
        while back <= KEPT_WORDS {
            (*last).words[back - 1] = word_of(other, back);
            back += 1;
        }
        (*last).token = (*slot).token;
        (*last).start = u64::from(start);
        (*last).hash = hash;
    }
}

/// Walks an object's path; where it begins, or 0 if it has none in this namespace. A function of its own, so that the
/// programs hold the walk once.
#[inline(never)]
fn built(path: *mut Path, dentry: u64, vfsmount: u64) -> u32 {
    match walk::absolute(path, dentry, walk::mount_of(vfsmount)) {
        // SAFETY: `path` is in a map value.
        Ok(()) => unsafe { core::ptr::read_volatile(&raw const (*path).start) },
        Err(_) => 0,
    }
}

/// The same for an object whose types the verifier knows.
#[inline(never)]
fn built_by_loads(path: *mut Path, dentry: Typed, vfsmount: Typed) -> u32 {
    match walk::absolute_typed(path, dentry, vfsmount) {
        // SAFETY: `path` is in a map value.
        Ok(()) => unsafe { core::ptr::read_volatile(&raw const (*path).start) },
        Err(_) => 0,
    }
}

/// What an act is about, before it is told.
#[derive(Clone, Copy)]
pub struct Thing {
    /// The object, or the directory that the name is in.
    pub object: Object,
    /// The name.
    pub name: Name,
}

/// Builds the path of `thing`. `None` if it has none and needs none: pipes, sockets, memory, the inside of a stacked
/// filesystem.
#[inline(always)]
fn path_of(path: *mut Path, thing: Thing) -> Result<Option<Extent>, Outcome> {
    let start = built(path, thing.object.dentry, thing.object.vfsmount);
    if start == 0 {
        // SAFETY: `path` is in a map value.
        let outcome = unsafe { core::ptr::read_volatile(&raw const (*path).outcome) };
        let has_no_path = outcome == u32::from(cause::ANONYMOUS) || outcome == walk::COMPLETE;
        let mount = walk::mount_of(thing.object.vfsmount);
        if has_no_path && walk::is_internal(mount)? {
            return Ok(None);
        }
        return Err(Outcome::INTERNAL);
    }
    let kernel = Extent { start, end: PATH_END as u32 };
    match thing.name {
        Name::None => Ok(Some(kernel)),
        Name::User(address) => passed(path, start, address, false).map(Some),
        Name::Kernel(address) => passed(path, start, address, true).map(Some),
    }
}

/// Puts a slash and the name behind the path that begins at `start`.
#[inline(always)]
fn passed(path: *mut Path, start: u32, address: u64, kernel: bool) -> Result<Extent, Outcome> {
    // SAFETY: `path` is in a map value, and the helper writes at most NAME_ROOM bytes, to the end of the buffer.
    let length = unsafe {
        let bytes = (&raw mut (*path).bytes).cast::<u8>();
        bytes.add(PATH_END).write_volatile(b'/');
        let name = bytes.add(PATH_END + 1).cast::<c_void>();
        if kernel {
            bpf_probe_read_kernel_str(name, NAME_ROOM, address as *const c_void)
        } else {
            bpf_probe_read_user_str(name, NAME_ROOM, address as *const c_void)
        }
    };
    // A name that fills the room may have been cut.
    if length <= 0 || length >= i64::from(NAME_ROOM) {
        return Err(Outcome::INTERNAL);
    }
    Ok(Extent { start, end: PATH_END as u32 + length as u32 })
}

/// Tells an act on one thing, or on two where there is an `other`.
#[inline(always)]
pub fn act(slot: *mut Slot, seen: Seen, thing: Thing, other: Option<Thing>) -> Result<(), Outcome> {
    // SAFETY: `slot` is a map value.
    let (path, second) = unsafe { (&raw mut (*slot).path, &raw mut (*slot).other) };
    let mut seen = seen;
    let Some(extent) = path_of(path, thing)? else {
        if seen.needed & rights::EXEC != 0 {
            nameless(slot, seen);
        }
        return Ok(());
    };
    if !matches!(thing.name, Name::None) {
        seen.flags |= PASSED;
    }
    seen.path = hash(path, extent)?;
    let mut second_extent = Extent::NONE;
    if let Some(other) = other {
        second_extent = path_of(second, other)?.ok_or(Outcome::INTERNAL)?;
        seen.other = hash(second, second_extent)?;
    }
    submit(slot, seen, extent, second_extent);
    Ok(())
}

/// Tells an act on a Unix socket with an abstract name, by a `struct sockaddr_un` of `length` bytes: the name stands for the path, with an
/// `@` before it. What has none is not told.
#[inline(always)]
pub fn by_abstract_name(
    slot: *mut Slot,
    seen: Seen,
    address: u64,
    length: u32,
    memory: Memory,
) -> Result<(), Outcome> {
    if length <= BEFORE_NAME {
        return Ok(());
    }
    // SAFETY: `slot` is a map value.
    let path = unsafe { &raw mut (*slot).path };
    abstract_name::place(path, address, length, memory)?;
    abstract_name::mark(path);
    // SAFETY: as above.
    let start = unsafe { core::ptr::read_volatile(&raw const (*path).start) };
    let extent = Extent { start, end: PATH_END as u32 };
    submit(slot, Seen { path: hash(path, extent)?, ..seen }, extent, Extent::NONE);
    Ok(())
}

/// Tells an act on something without a name.
#[inline(always)]
pub fn nameless(slot: *mut Slot, seen: Seen) {
    let seen = Seen { flags: seen.flags | NAMELESS, ..seen };
    submit(slot, seen, Extent::NONE, Extent::NONE);
}

/// Tells an act whose [`Seen`] says everything.
#[inline(always)]
pub fn without_path(slot: *mut Slot, seen: Seen) {
    submit(slot, seen, Extent::NONE, Extent::NONE);
}

#[inline(always)]
fn hash(path: *mut Path, extent: Extent) -> Result<u64, Outcome> {
    match hashed(path, extent.start, extent.end) {
        0 => Err(Outcome::INTERNAL),
        hash => Ok(hash),
    }
}

/// 0 for a failure. A function of its own, so that the programs hold it once.
#[inline(never)]
fn hashed(path: *mut Path, start: u32, end: u32) -> u64 {
    siphash::of(path, start, end).unwrap_or(0)
}

/// Tells what has not been told, counts what has; whether it has been told. A path is in the slot's `path`, another in its `other`.
#[inline(always)]
fn submit(slot: *mut Slot, seen: Seen, path: Extent, other: Extent) -> bool {
    let Seen { path: hash, other: other_hash, program, detail, operation, needed, flags } = seen;
    // SAFETY: `slot` is a map value.
    unsafe {
        let own = &raw mut (*slot).act.seen;
        // Apart from the rest, or LLVM calls `memset` where neither path is known (see `zero`).
        core::ptr::write_volatile(&raw mut (*own).other, other_hash);
        (*own).path = hash;
        (*own).program = program;
        (*own).detail = detail;
        (*own).operation = operation;
        (*own).needed = needed;
        (*own).flags = flags;
    }
    told(slot, path.start, path.end, other.start, other.end) != 0
}

/// See [`submit`]. A function of its own, so that the programs hold it once.
#[inline(never)]
fn told(slot: *mut Slot, start: u32, end: u32, other_start: u32, other_end: u32) -> u32 {
    // SAFETY: `slot` is a map value.
    let (seen, number) = unsafe { ((*slot).act.seen, (*slot).recording as u32) };
    let Some(recording) = RECORDINGS.get_ptr_mut(number) else {
        return 0;
    };
    // SAFETY: an inner map is removed as a whole and freed after a grace period.
    let Some(all) = (unsafe { SEEN.get(&number) }) else {
        count(recording, offset_of!(Tally, lost));
        return 0;
    };
    if counted(all, &seen) {
        return 1;
    }
    match all.insert(&seen, 1, NO_EXIST) {
        Ok(()) => {}
        // Another processor was faster.
        Err(EXISTS) => {
            counted(all, &seen);
            return 1;
        }
        Err(_) => count(recording, offset_of!(Tally, again)),
    }
    let path = Extent { start, end };
    let other = Extent { start: other_start, end: other_end };
    // SAFETY: `slot` is a map value.
    if !unsafe { write(slot, number, path, other) } {
        count(recording, offset_of!(Tally, lost));
        // The next time it is told, if there is one.
        let _may_be_absent = all.remove(&seen);
        return 0;
    }
    1
}

#[inline(always)]
fn counted(told: &Told, seen: &Seen) -> bool {
    let Some(times) = told.get_ptr_mut(seen) else {
        return false;
    };
    // SAFETY: a map value lives as long as the program runs.
    unsafe { atomic::add(times, 1) };
    true
}

/// Whether there was room for the record.
///
/// # Safety
/// `slot` is a map value.
#[inline(always)]
unsafe fn write(slot: *mut Slot, number: u32, path: Extent, other: Extent) -> bool {
    const HEADER: u32 = size_of::<Act>() as u32;
    // SAFETY: an inner map is removed as a whole and freed after a grace period.
    let Some(ring) = (unsafe { RECORDS.get(&number) }) else {
        return false;
    };
    let (path_bytes, other_bytes) = (path.end - path.start, other.end - other.start);
    let mut record: bpf_dynptr = zeroed();
    // SAFETY: `slot` by contract; a reservation that failed still has to be discarded (kernel/bpf/ringbuf.c).
    unsafe {
        let act = &raw mut (*slot).act;
        (*act).time = bpf_ktime_get_boot_ns();
        (*act).process = (bpf_get_current_pid_tgid() >> 32) as u32;
        (*act).path_bytes = path_bytes as u16;
        (*act).other_bytes = other_bytes as u16;
        let ring = core::ptr::from_ref(ring).cast_mut().cast::<c_void>();
        let size = HEADER + path_bytes + other_bytes;
        if bpf_ringbuf_reserve_dynptr(ring, size, 0, &raw mut record) != 0 {
            bpf_ringbuf_discard_dynptr(&raw mut record, 0);
            return false;
        }
        let mut failed = bpf_dynptr_write(&raw const record, 0, act.cast::<c_void>(), HEADER, 0);
        failed |= append(&record, HEADER, &raw const (*slot).path, path);
        failed |= append(&record, HEADER + path_bytes, &raw const (*slot).other, other);
        if failed != 0 {
            bpf_ringbuf_discard_dynptr(&raw mut record, 0);
            return false;
        }
        bpf_ringbuf_submit_dynptr(&raw mut record, when(ring, &(*act).seen));
    }
    true
}

/// Whether the reader is woken. To wake it takes half as long as all else that is done for an act, so it looks by itself now and then. Woken
/// it is where what it makes of an act depends on when it does so, which is that of names that were passed and of containers that begin,
/// and before the buffer is full.
#[inline(always)]
fn when(ring: *mut c_void, seen: &Seen) -> u64 {
    if seen.flags & PASSED != 0 || matches!(seen.operation, operation::EXEC | operation::RENAME) {
        return FORCE_WAKEUP;
    }
    // SAFETY: `ring` is a ring buffer.
    let waiting = unsafe { bpf_ringbuf_query(ring, AVAILABLE_DATA) };
    if waiting >= u64::from(limits::RECORD_RING_BYTES / 8) { FORCE_WAKEUP } else { NO_WAKEUP }
}

/// Both halves of a path: what the kernel named, and what was passed.
///
/// # Safety
/// `path` is in a map value.
#[inline(always)]
unsafe fn append(record: &bpf_dynptr, at: u32, path: *const Path, extent: Extent) -> i64 {
    const MASK: u64 = PATH_END as u64 - 1;
    if extent.end == 0 {
        return 0;
    }
    let start = bounded!(u64::from(extent.start), MASK);
    let kernel = bounded!(PATH_END as u64 - start, MASK);
    let passed = bounded!(u64::from(extent.end) - PATH_END as u64, MASK);
    // SAFETY: start and length are below half of the buffer each, and the second half is as long as the mask allows.
    unsafe {
        let bytes = (&raw const (*path).bytes).cast_mut().cast::<u8>();
        let mut failed = 0;
        let from = bytes.add(start as usize).cast::<c_void>();
        if kernel != 0 {
            failed |= bpf_dynptr_write(record, at, from, kernel as u32, 0);
        }
        if passed != 0 {
            let from = bytes.add(PATH_END).cast::<c_void>();
            failed |= bpf_dynptr_write(record, at + kernel as u32, from, passed as u32, 0);
        }
        failed
    }
}

/// Keeps who the current task is until its exec has succeeded.
#[inline(always)]
pub fn about_to_execute(recording: *mut Recording, program: u64) {
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    if EXECUTING.insert(task, program, 0).is_err() {
        count(recording, offset_of!(Tally, unread));
    }
}

/// Who the current task was before its exec.
#[inline(always)]
pub fn was_executing() -> Option<u64> {
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    // SAFETY: only the task itself writes its entry.
    let program = unsafe { EXECUTING.get(task) }.copied();
    let _absent_is_fine = EXECUTING.remove(task);
    program
}
