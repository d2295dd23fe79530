//! Telling user space: an event for each denial, in the fence's own ring buffer; what finds no room is counted.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::bpf_dynptr,
    cty::c_void,
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_uid_gid,
        generated::{
            bpf_dynptr_write, bpf_ktime_get_boot_ns, bpf_loop, bpf_ringbuf_discard_dynptr,
            bpf_ringbuf_reserve_dynptr, bpf_ringbuf_submit_dynptr,
        },
    },
};
use ringfence_abi::{
    event::{Ancestor, Header, VERDICT_AUDIT, VERDICT_DENY, cause},
    limits,
    policy::{Counters, Label},
};

use crate::{
    identity,
    kernel::{offset, read},
    maps::EVENTS,
    scratch::{PATH_END, Path, Slot},
    walk::bounded,
    zero::{zero, zeroed},
};

/// What is said of a denial beside the paths.
#[derive(Clone, Copy)]
pub struct Finding {
    /// `ringfence_abi::event::operation`.
    pub operation: u16,
    /// `ringfence_abi::event::cause`.
    pub cause: u8,
    /// Rights needed.
    pub needed: u8,
    /// Rights granted.
    pub granted: u8,
    /// Denied, or only reported.
    pub denied: bool,
    /// What of the slot's path is to be shown.
    pub path: Span,
    /// What of the slot's other path is to be shown.
    pub other: Span,
    /// Error of a watched system call, or 0.
    pub error: u16,
    /// What of the operation, as a number.
    pub detail: u32,
    /// `ringfence_abi::surface::Surfaces::number` of what would open it.
    pub surface: u8,
}

impl Finding {
    /// A denial without paths.
    #[inline(always)]
    pub fn new(operation: u16, cause: u8) -> Self {
        Self {
            operation,
            cause,
            needed: 0,
            granted: 0,
            denied: true,
            path: Span::NONE,
            other: Span::NONE,
            error: 0,
            detail: 0,
            surface: 0,
        }
    }
}

/// Bytes of a path's buffer.
#[derive(Clone, Copy)]
pub struct Span {
    start: u32,
    length: u32,
}

impl Span {
    /// Nothing.
    pub const NONE: Self = Self { start: 0, length: 0 };

    /// A path that the walk has built.
    #[inline(always)]
    pub fn built(path: *const Path) -> Self {
        // SAFETY: `path` is in a map value.
        let start = unsafe { core::ptr::read_volatile(&raw const (*path).start) };
        let length = PATH_END as u32 - start;
        Self { start, length: bounded!(u64::from(length), PATH_END as u64 - 1) as u32 }
    }

    /// Bytes of a buffer from `start` on.
    #[inline(always)]
    pub fn of(start: u32, length: u32) -> Self {
        Self { start, length: bounded!(u64::from(length), PATH_END as u64 - 1) as u32 }
    }

    /// The first bytes of a buffer.
    #[inline(always)]
    pub fn first(length: u32) -> Self {
        Self { start: 0, length: bounded!(u64::from(length), PATH_END as u64 - 1) as u32 }
    }
}

/// Counts a finding and sends it.
#[inline(always)]
pub fn send(slot: *mut Slot, label: Label, finding: Finding) {
    // SAFETY: `slot` is a map value, the helpers have no precondition.
    unsafe {
        let header = &raw mut (*slot).header;
        fill(header, label, &finding);
        (*header).thread = bpf_get_current_pid_tgid() as u32;
        (*header).user = bpf_get_current_uid_gid() as u32;
    }
    tell(slot, spans(&finding), 1);
}

/// As [`send`], of what another task than the current one has to answer for.
#[inline(always)]
pub fn send_of(slot: *mut Slot, label: Label, finding: Finding, user: u32, by: &Ancestor) {
    // SAFETY: `slot` is a map value, and the array of integers is as large as the type says.
    unsafe {
        let header = &raw mut (*slot).header;
        fill(header, label, &finding);
        (*header).thread = by.pid;
        (*header).user = user;
        zero(&raw mut (*header).chain);
        (&raw mut (*header).chain).cast::<Ancestor>().write(*by);
    }
    tell(slot, spans(&finding), 0);
}

/// Both of a finding's spans in a register: 16 bits each for where one starts and how long it is, which no buffer is too long for.
#[inline(always)]
fn spans(finding: &Finding) -> u64 {
    let packed = |Span { start, length }: Span| u64::from(start) << 16 | u64::from(length);
    packed(finding.path) << 32 | packed(finding.other)
}

/// Counts and sends what the slot's header says; with the current task and its ancestors, if that is who acted.
///
/// VERIFIER: a global function, as `matching::match_path`, since programs end in many ways that are told. Programs on packets have it as
/// well, and may not ask for the current user.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell(slot: *mut Slot, spans: u64, is_current: u32) -> u32 {
    if slot.is_null() {
        return 0;
    }
    let span = |packed: u64| Span { start: (packed >> 16) as u16 as u32, length: packed as u16 as u32 };
    let (path, other) = (span(spans >> 32), span(spans));
    // SAFETY: `slot` is a slot, by the verifier's own account; the helpers have no precondition.
    unsafe {
        let header = &raw mut (*slot).header;
        let fence = (*header).fence;
        (*header).time = bpf_ktime_get_boot_ns();
        count(fence, (*header).verdict, (*header).cause);
        if is_current != 0 {
            chain(header, fence);
        }
        (*header).path_bytes = path.length as u16;
        (*header).other_bytes = other.length as u16;
        if !write(slot, fence, path, other) {
            identity::count(fence, offset_of!(Counters, lost), 1);
        }
    }
    0
}

/// The current task, without its ancestors; nobody if it cannot be read.
#[inline(always)]
pub fn myself() -> Ancestor {
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    match describe(task) {
        Some((found, _)) => found,
        None => Ancestor { pid: 0, comm: [0; limits::COMM_BYTES] },
    }
}

/// Counts a denial that has no slot to put an event together in.
#[inline(always)]
pub fn count_error(label: Label) {
    identity::count(label.fence, offset_of!(Counters, denied), 1);
    identity::count(label.fence, offset_of!(Counters, errors), 1);
    identity::count(label.fence, offset_of!(Counters, lost), 1);
}

#[inline(always)]
fn count(fence: u32, verdict: u8, cause: u8) {
    if verdict == VERDICT_DENY {
        identity::count(fence, offset_of!(Counters, denied), 1);
    } else {
        identity::count(fence, offset_of!(Counters, audited), 1);
    }
    if cause == cause::INTERNAL {
        identity::count(fence, offset_of!(Counters, errors), 1);
    }
}

/// # Safety
/// `header` is in a map value.
#[inline(always)]
unsafe fn fill(header: *mut Header, label: Label, finding: &Finding) {
    // SAFETY: by contract.
    unsafe {
        (*header).fence = label.fence;
        (*header).operation = finding.operation;
        (*header).verdict = if finding.denied { VERDICT_DENY } else { VERDICT_AUDIT };
        (*header).cause = finding.cause;
        (*header).needed = finding.needed;
        (*header).granted = finding.granted;
        (*header).error = finding.error;
        (*header).detail = finding.detail;
        (*header).surface = finding.surface;
        (*header).program = label.program;
        (*header).reserved = [0; 2];
    }
}

/// What the walk up the ancestors carries.
struct Ancestry {
    header: *mut Header,
    task: u64,
    fence: u32,
}

/// The process and its ancestors, as far as they are known to be in the same fence: behind the fallback engine tasks have no
/// label, and the process stands alone.
///
/// # Safety
/// `header` is in a map value.
#[inline(always)]
unsafe fn chain(header: *mut Header, fence: u32) {
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    let mut ancestry = Ancestry { header, task, fence };
    // SAFETY: `header` by contract, and the array of integers is as large as the type says. The callback gets the
    // address of a value on this frame's stack.
    unsafe {
        zero(&raw mut (*header).chain);
        bpf_loop(
            limits::CHAIN as u32,
            ancestor as *const () as *mut c_void,
            (&raw mut ancestry).cast::<c_void>(),
            0,
        );
    }
}

/// One of the tasks; returns 1 at the first outside.
extern "C" fn ancestor(index: u64, ancestry: *mut Ancestry) -> i64 {
    // SAFETY: `ancestry` is the one that `chain` passed.
    let ancestry = unsafe { &mut *ancestry };
    if index != 0 && identity::of(ancestry.task).is_none_or(|label| label.fence != ancestry.fence) {
        return 1;
    }
    let Some((found, parent)) = describe(ancestry.task) else {
        return 1;
    };
    let index = bounded!(index, limits::CHAIN as u64 - 1);
    // SAFETY: the index is below the array's length, `header` by contract.
    unsafe {
        (&raw mut (*ancestry.header).chain).cast::<Ancestor>().add(index as usize).write(found);
    }
    ancestry.task = parent;
    0
}

#[inline(always)]
fn describe(task: u64) -> Option<(Ancestor, u64)> {
    let pid = read::<u32>(task + offset!(task_process)).ok()?;
    let comm = read::<[u8; limits::COMM_BYTES]>(task + offset!(task_name)).ok()?;
    let parent = read::<u64>(task + offset!(task_real_parent)).ok()?;
    Some((Ancestor { pid, comm }, parent))
}

/// Whether the event found room.
///
/// # Safety
/// `slot` is a map value.
#[inline(always)]
unsafe fn write(slot: *mut Slot, fence: u32, path: Span, other: Span) -> bool {
    const HEADER: u32 = size_of::<Header>() as u32;
    // SAFETY: an inner map is removed as a whole and freed after a grace period.
    let Some(ring) = (unsafe { EVENTS.get(&fence) }) else {
        return false;
    };
    let mut record: bpf_dynptr = zeroed();
    let size = HEADER + path.length + other.length;
    // SAFETY: `ring` is a map; a reservation that failed still has to be discarded (kernel/bpf/ringbuf.c).
    unsafe {
        let ring = core::ptr::from_ref(ring).cast_mut().cast::<c_void>();
        if bpf_ringbuf_reserve_dynptr(ring, size, 0, &raw mut record) != 0 {
            bpf_ringbuf_discard_dynptr(&raw mut record, 0);
            return false;
        }
        let header = (&raw mut (*slot).header).cast::<c_void>();
        let mut failed = bpf_dynptr_write(&raw const record, 0, header, HEADER, 0);
        failed |= append(&record, HEADER, &raw mut (*slot).path, path);
        failed |= append(&record, HEADER + path.length, &raw mut (*slot).other, other);
        if failed != 0 {
            bpf_ringbuf_discard_dynptr(&raw mut record, 0);
            return false;
        }
        bpf_ringbuf_submit_dynptr(&raw mut record, 0);
    }
    true
}

/// # Safety
/// `path` is in a map value.
#[inline(always)]
unsafe fn append(record: &bpf_dynptr, at: u32, path: *mut Path, span: Span) -> i64 {
    if span.length == 0 {
        return 0;
    }
    let start = bounded!(u64::from(span.start), PATH_END as u64 - 1);
    let length = bounded!(u64::from(span.length), PATH_END as u64 - 1);
    // SAFETY: start and length are below half of the buffer each.
    unsafe {
        let source = (&raw mut (*path).bytes).cast::<u8>().add(start as usize);
        bpf_dynptr_write(record, at, source.cast::<c_void>(), length as u32, 0)
    }
}
