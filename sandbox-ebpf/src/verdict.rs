//! From a question to an answer: take a slot, walk, match, report. The one place that turns an error into a denial.

use core::arch::asm;

use ringfence_abi::{
    event::cause,
    policy::{Label, MODE_AUDIT, MODE_OFF},
    rights,
    surface::Surfaces,
};

use crate::{
    in_place,
    kernel::{Typed, offset, read},
    matching::{self, Answer},
    mount_state,
    outcome::Outcome,
    pseudo,
    report::{self, Finding, Span},
    scratch::{self, PATH_END, Slot},
    special, table,
    walk::{self, bounded},
};

/// What a hook returns to deny (`-EACCES`). A literal, because the verifier wants to see the range.
pub const DENY: i32 = -13;
/// What a hook returns to allow.
pub const ALLOW: i32 = 0;
/// What rename and link return where both names may be written but allow different things (`-EXDEV`): `mv` then
/// copies, and each copy is judged by itself.
pub const ACROSS: i32 = -18;

/// What a hook's program ends with: its answer, 0 or the negative number of an error, which is 4095 at most (include/linux/err.h).
///
/// VERIFIER: "At program exit the register R0 has smin=0 smax=4294967295 should have been in [-4095, 0]" where LLVM has kept an answer on
/// the stack, in four bytes of eight.
#[inline(always)]
pub fn ending(answer: i32) -> i32 {
    let error = bounded!(u64::from(answer.unsigned_abs()), 4095) as u32;
    let mut ending = 0;
    // SAFETY: two registers, no memory.
    unsafe {
        asm!("{0} -= {1}", inout(wreg) ending, in(wreg) error, options(pure, nomem, nostack));
    }
    ending
}

/// What is asked of a path.
#[derive(Clone, Copy)]
pub struct Question {
    /// Whose policy decides.
    pub label: Label,
    /// `ringfence_abi::event::operation`.
    pub operation: u16,
    /// Rights needed, `ringfence_abi::rights`.
    pub needed: u8,
}

/// An object of the filesystem: a `struct dentry` and the `struct vfsmount` that it was reached by.
#[derive(Clone, Copy)]
pub struct Object {
    /// Address of the dentry.
    pub dentry: u64,
    /// Address of the vfsmount.
    pub vfsmount: u64,
}

impl Object {
    /// What a `struct path` at `address` names.
    #[inline(always)]
    pub fn of_path(address: u64) -> Result<Self, Outcome> {
        Ok(Self {
            dentry: read::<u64>(address + offset!(path_dentry))?,
            vfsmount: read::<u64>(address + offset!(path_mount))?,
        })
    }

    /// What a `struct file` at `address` names.
    #[inline(always)]
    pub fn of_file(address: u64) -> Result<Self, Outcome> {
        Self::of_path(address + offset!(file_path))
    }

    /// The entry `dentry` of the directory that the `struct path` at `directory` names.
    #[inline(always)]
    pub fn entry(directory: u64, dentry: u64) -> Result<Self, Outcome> {
        Ok(Self {
            dentry,
            vfsmount: read::<u64>(directory + offset!(path_mount))?,
        })
    }
}

/// Judges one object.
#[inline(always)]
pub fn of(question: Question, object: Result<Object, Outcome>) -> i32 {
    with_slot(question.label, |slot| {
        let judged = object.and_then(|object| judge(slot, question, object));
        conclude(slot, question, judged)
    })
}

/// Judges the file that a hook is about; `operation` is asked for where there may be something to report.
#[inline(always)]
pub fn of_file(label: Label, needed: u8, file: Typed, operation: impl FnOnce() -> u16) -> i32 {
    let path = offset!(file_path);
    let dentry = file.pointer(path + offset!(path_dentry));
    let vfsmount = file.pointer(path + offset!(path_mount));
    if is_plainly_allowed(label, needed, dentry, vfsmount) {
        return ALLOW;
    }
    let question = Question { label, operation: operation(), needed };
    with_slot(label, |slot| {
        let judged = dentry.known().and_then(|dentry| judge_typed(slot, question, dentry, vfsmount.known()?));
        if let Ok(Judged::Fine) = judged
            && !in_place::is_the_root(vfsmount)
        {
            // SAFETY: `slot` is a map value.
            let path = unsafe { &raw mut (*slot).other };
            mount_state::note(path, label, walk::mount_of(vfsmount.address()));
        }
        conclude(slot, question, judged)
    })
}

/// Whether the short way leads to all the rights that are needed, and nothing but rights counts. No is no answer.
#[inline(always)]
pub fn is_plainly_allowed(label: Label, needed: u8, dentry: Typed, vfsmount: Typed) -> bool {
    let superblock = dentry.pointer(offset!(dentry_superblock));
    // Seldom true of anything else, and quickly found out.
    if special::acts_for_another() == Ok(true) {
        return special::is_in_a_stack(superblock, walk::mount_of(vfsmount.address()));
    }
    is_never_closed(superblock, needed) && in_place::rights(label, dentry, vfsmount) & needed == needed
}

/// Whether the short way leads to all the rights that are needed on both of two names in one directory, which no rule can tell apart. No
/// is no answer.
#[inline(always)]
pub fn are_plainly_alike(label: Label, needed: u8, one: Typed, other: Typed, vfsmount: Typed) -> bool {
    is_never_closed(one.pointer(offset!(dentry_superblock)), needed)
        && in_place::rights_of_siblings(label, one, other, vfsmount) & needed == needed
}

/// Whether nothing but rules closes what is in a file system.
#[inline(always)]
fn is_never_closed(superblock: Typed, needed: u8) -> bool {
    let magic = superblock.member::<u64>(offset!(superblock_magic));
    // A load that has faulted gives 0.
    magic != 0 && pseudo::is_never_closed(magic, needed)
}

/// Denies because something could not be found out.
#[inline(always)]
pub fn failed(question: Question, outcome: Outcome) -> i32 {
    with_slot(question.label, |slot| conclude(slot, question, Err(outcome)))
}

/// Runs `work` with a slot; none free is a denial.
#[inline(always)]
pub fn with_slot(label: Label, work: impl FnOnce(*mut Slot) -> i32) -> i32 {
    let Ok(slot) = scratch::take() else {
        report::count_error(label);
        return DENY;
    };
    let answer = work(slot);
    scratch::release(slot);
    answer
}

/// What is found of an object, before the mode is asked.
enum Judged {
    /// Allowed.
    Fine,
    /// Closed, whatever the mode; this surface would open it.
    Closed(Surfaces),
    /// Not allowed, for this reason, under this mode.
    Not { cause: u8, granted: u8, mode: u8 },
}

#[inline(always)]
fn judge(slot: *mut Slot, question: Question, object: Object) -> Result<Judged, Outcome> {
    // SAFETY: `slot` is a map value.
    let path = unsafe { &raw mut (*slot).path };
    let mount = walk::mount_of(object.vfsmount);
    let walked = walk::absolute(path, object.dentry, mount);
    let magic = || pseudo::magic(object.dentry);
    judge_walked(slot, question, object.dentry, mount, walked, magic)
}

#[inline(always)]
fn judge_typed(
    slot: *mut Slot,
    question: Question,
    dentry: Typed,
    vfsmount: Typed,
) -> Result<Judged, Outcome> {
    // SAFETY: `slot` is a map value.
    let path = unsafe { &raw mut (*slot).path };
    let walked = walk::absolute_typed(path, dentry, vfsmount);
    let magic = || {
        let superblock = dentry.pointer(offset!(dentry_superblock)).known()?;
        Ok(superblock.member::<u64>(offset!(superblock_magic)))
    };
    let mount = walk::mount_of(vfsmount.address());
    judge_walked(slot, question, dentry.address(), mount, walked, magic)
}

#[inline(always)]
fn judge_walked(
    slot: *mut Slot,
    question: Question,
    dentry: u64,
    mount: u64,
    walked: Result<(), Outcome>,
    magic: impl FnOnce() -> Result<u64, Outcome>,
) -> Result<Judged, Outcome> {
    // SAFETY: `slot` is a map value.
    let path = unsafe { &raw mut (*slot).path };
    if let Err(outcome) = walked {
        if special::allowed(question, dentry, mount, outcome)? {
            return Ok(Judged::Fine);
        }
        return Err(outcome);
    }
    if question.needed & (rights::READ | rights::WRITE) != 0 {
        let closed = pseudo::closed_on(magic()?, question.needed, question.label, dentry)?;
        if closed != Surfaces::NONE {
            return Ok(Judged::Closed(closed));
        }
    }
    let answer = matching::rights(path, question.label)?;
    if answer.mode == MODE_OFF || answer.granted & question.needed == question.needed {
        return Ok(Judged::Fine);
    }
    Ok(Judged::Not {
        cause: cause::RULE,
        granted: answer.granted,
        mode: answer.mode,
    })
}

#[inline(always)]
fn conclude(slot: *mut Slot, question: Question, judged: Result<Judged, Outcome>) -> i32 {
    let (cause, granted, mode) = match judged {
        Ok(Judged::Fine) => return ALLOW,
        Ok(Judged::Closed(surface)) => return report_closed(slot, question, surface),
        Ok(Judged::Not { cause, granted, mode }) => (cause, granted, mode),
        Err(outcome) => (outcome.0, 0, mode_of(question.label)),
    };
    refuse(slot, question, cause, granted, mode, false)
}

/// Reports what is not allowed, and returns what the hook answers under `mode`.
#[inline(always)]
pub fn refuse(
    slot: *mut Slot,
    question: Question,
    cause: u8,
    granted: u8,
    mode: u8,
    has_other: bool,
) -> i32 {
    if mode == MODE_OFF {
        return ALLOW;
    }
    let denied = mode != MODE_AUDIT;
    // SAFETY: `slot` is a map value.
    let (path, other) = unsafe { (&raw const (*slot).path, &raw const (*slot).other) };
    report::send(
        slot,
        question.label,
        Finding {
            needed: question.needed,
            granted,
            denied,
            path: Span::built(path),
            other: if has_other { Span::built(other) } else { Span::NONE },
            ..Finding::new(question.operation, cause)
        },
    );
    if denied { DENY } else { ALLOW }
}

/// Reports an act on the path in `slot` that is closed, and denies it in every mode.
#[inline(always)]
pub fn report_closed(slot: *mut Slot, question: Question, surface: Surfaces) -> i32 {
    // SAFETY: `slot` is a map value.
    let path = unsafe { &raw const (*slot).path };
    let finding = Finding {
        needed: question.needed,
        path: Span::built(path),
        surface: surface.number(),
        ..Finding::new(question.operation, cause::CLOSED)
    };
    report::send(slot, question.label, finding);
    DENY
}

/// The mode of a fence's file section; enforced if the policy cannot be found.
#[inline(always)]
pub fn mode_of(label: Label) -> u8 {
    table::mode(label)
}

/// Walks and matches without a verdict: for rename and link, which compare two answers.
#[inline(always)]
pub fn ask(
    path: *mut scratch::Path,
    label: Label,
    object: Object,
) -> Result<Answer, Outcome> {
    walk::absolute(path, object.dentry, walk::mount_of(object.vfsmount))?;
    matching::rights(path, label)
}

/// Denies an act on an object for a reason other than a rule; the path is walked for the event only.
#[inline(always)]
pub fn refused(question: Question, object: Object, cause: u8) -> i32 {
    with_slot(question.label, |slot| {
        // SAFETY: `slot` is a map value.
        let path = unsafe { &raw mut (*slot).path };
        let cause = match walk::absolute(path, object.dentry, walk::mount_of(object.vfsmount)) {
            Ok(()) => cause,
            Err(outcome) => outcome.0,
        };
        refuse(slot, question, cause, 0, mode_of(question.label), false)
    })
}

/// Denies an act that is closed, in every mode; the path is walked for the event only.
#[inline(always)]
pub fn closed(
    label: Label,
    operation: u16,
    surface: Surfaces,
    object: Result<Object, Outcome>,
) -> i32 {
    let question = Question { label, operation, needed: 0 };
    with_slot(label, |slot| {
        // SAFETY: `slot` is a map value.
        let path = unsafe { &raw mut (*slot).path };
        let walked = object.and_then(|object| {
            walk::absolute(path, object.dentry, walk::mount_of(object.vfsmount))
        });
        if walked.is_err() {
            // What has no path is denied all the same.
            // SAFETY: as above.
            unsafe { core::ptr::write_volatile(&raw mut (*path).start, PATH_END as u32) };
        }
        report_closed(slot, question, surface)
    })
}
