//! Executing, and mapping as code.

use aya_ebpf::programs::LsmContext;
use ringfence_abi::{
    event::{cause, operation},
    layout::ABSENT,
    policy::{Label, NO_TABLE},
    rights,
    surface::PTRACE,
};

use crate::{
    identity,
    kernel::{Typed, offset, read},
    matching,
    outcome::Outcome,
    report::{self, Finding, Span},
    scratch::Slot,
    special, surface, table,
    verdict::{self, ALLOW, DENY, Object, Question},
    walk,
};

/// `PROT_EXEC`.
const EXECUTABLE: u64 = 4;
/// What `bprm_creds_for_exec` returns if a task of a fenced cgroup cannot be labelled (`-EPERM`).
const NOT_ENROLLED: i32 = -1;

/// `LSM_UNSAFE_PTRACE` (include/linux/security.h): the task is traced.
const TRACED: u32 = 2;

/// `bprm_creds_for_exec`: once per `execve`, in the task, before anything of the new program is trusted. A task that
/// stands in a fenced cgroup is fenced from here on, and the program that it starts is judged like any other.
///
/// The file is the one that was named, before any `#!` line is followed: it decides whose rights apply afterwards. Until
/// the exec cannot fail any more, the old ones do, for the program, its interpreter and its loader.
#[inline(always)]
pub fn enrol(context: &LsmContext) -> i32 {
    let label = match identity::enrol() {
        Ok(Some(label)) => label,
        Ok(None) => return ALLOW,
        Err(()) => return NOT_ENROLLED,
    };
    // No other rights to enter, and no reload brings any. Where the policy cannot be found, the check that follows denies.
    if table::program_count(label) == 0 {
        return ALLOW;
    }
    let program = context.arg::<u64>(0);
    verdict::with_slot(label, |slot| match successor(slot, label, program) {
        Ok((program, size_class)) => match identity::prepare(program, size_class) {
            Ok(()) => ALLOW,
            Err(outcome) => refuse_entry(slot, label, outcome.0, 0),
        },
        Err(outcome) => refuse_entry(slot, label, outcome.0, PTRACE.number()),
    })
}

/// `bprm_committed_creds`: the exec has succeeded.
#[inline(always)]
pub fn commit() {
    identity::commit();
}

/// Whose rights apply after this exec, and the size class of their table.
#[inline(always)]
fn successor(slot: *mut Slot, label: Label, program: u64) -> Result<(u8, u8), Outcome> {
    let object = Object::of_file(read::<u64>(program + offset!(program_file))?)?;
    // SAFETY: `slot` is a map value.
    let path = unsafe { &raw mut (*slot).path };
    let same = (label.program, label.size_class);
    if walk::absolute(path, object.dentry, walk::mount_of(object.vfsmount)).is_err() {
        // What has no path is no program of the profile's; whether it is executed at all is judged later.
        return Ok(same);
    }
    let next = matching::rights(path, label)?.program;
    if next == 0 || next == label.program {
        return Ok(same);
    }
    let size_class = table::size_class_of(label, next);
    if size_class == NO_TABLE {
        return Err(Outcome::INTERNAL);
    }
    // A tracer that was let in under the old rights would have the new ones.
    let is_traced = read::<u32>(program + offset!(program_unsafe))? & TRACED != 0;
    if is_traced && !surface::open(label, PTRACE) {
        return Err(Outcome(cause::CLOSED));
    }
    Ok((next, size_class))
}

/// Reports that other rights cannot be entered; the exec fails.
#[inline(always)]
fn refuse_entry(slot: *mut Slot, label: Label, reason: u8, surface: u8) -> i32 {
    // SAFETY: `slot` is a map value.
    let path = unsafe { &raw const (*slot).path };
    let finding = Finding {
        path: Span::built(path),
        surface: if reason == cause::CLOSED { surface } else { 0 },
        ..Finding::new(operation::EXEC, reason)
    };
    report::send(slot, label, finding);
    DENY
}

/// `bprm_check_security`: the program, and after a `#!` line its interpreter.
#[inline(always)]
pub fn check(context: &LsmContext) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let program = Typed::argument(context, 0);
    if is_plainly_allowed(label, program.pointer(offset!(program_file))) {
        return ALLOW;
    }
    let file = read::<u64>(program.address() + offset!(program_file));
    run(Question { label, operation: operation::EXEC, needed: rights::EXEC }, file)
}

/// `mmap_file`: `prot` is what the mapping gets, personality included; `reqprot` is what was asked for.
#[inline(always)]
pub fn map(context: &LsmContext) -> i32 {
    let file = Typed::argument(context, 0);
    if file.address() == 0 || context.arg::<u64>(2) & EXECUTABLE == 0 {
        return ALLOW;
    }
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    if is_plainly_allowed(label, file) {
        return ALLOW;
    }
    run(Question { label, operation: operation::MAP_EXEC, needed: rights::EXEC }, Ok(file.address()))
}

/// The same as of an open ([`verdict::is_plainly_allowed`]), of a file that is still in its directory.
#[inline(always)]
fn is_plainly_allowed(label: Label, file: Typed) -> bool {
    let dentry = file.pointer(offset!(file_path) + offset!(path_dentry));
    let vfsmount = file.pointer(offset!(file_path) + offset!(path_mount));
    let is_hashed = dentry.member::<u64>(offset!(dentry_hash_pprev)) != 0;
    is_hashed && verdict::is_plainly_allowed(label, rights::EXEC, dentry, vfsmount)
}

/// `file_mprotect`: making a mapping of a file executable.
#[inline(always)]
pub fn protect(context: &LsmContext) -> i32 {
    if context.arg::<u64>(2) & EXECUTABLE == 0 {
        return ALLOW;
    }
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let area = context.arg::<u64>(0);
    let file = read::<u64>(area + offset!(area_file));
    if file == Ok(0) {
        return ALLOW;
    }
    let question = Question { label, operation: operation::PROTECT_EXEC, needed: rights::EXEC };
    let file = match file {
        Ok(file) => file,
        Err(outcome) => return verdict::failed(question, outcome),
    };
    match as_opened(file) {
        Ok(object) => judge(question, object),
        Err(outcome) => verdict::failed(question, outcome),
    }
}

/// What the task opened: a mapping of overlayfs holds the file of the layer, which knows by which path it was opened
/// (fs/backing-file.c, since 6.8). Where it does not, the layer's file has no path in the namespace, and is denied.
#[inline(always)]
pub fn as_opened(file: u64) -> Result<Object, Outcome> {
    let object = Object::of_file(file)?;
    let user_path = offset!(backing_user_path);
    if user_path != u64::from(ABSENT)
        && special::is_layer(object.dentry, walk::mount_of(object.vfsmount))?
    {
        return Object::of_path(file + user_path);
    }
    Ok(object)
}

#[inline(always)]
fn run(question: Question, file: Result<u64, Outcome>) -> i32 {
    match file.and_then(Object::of_file) {
        Ok(object) => judge(question, object),
        Err(outcome) => verdict::failed(question, outcome),
    }
}

#[inline(always)]
fn judge(question: Question, object: Object) -> i32 {
    if is_removed(object.dentry) != Ok(false) {
        return verdict::refused(question, object, cause::UNLINKED);
    }
    verdict::of(question, Ok(object))
}

/// Whether a file has been removed from its directory: its dentry is in no hash chain (`d_unhashed`) and is not a root.
///
/// What is anonymous is its own parent; the walk finds that out and says so.
#[inline(always)]
pub fn is_removed(dentry: u64) -> Result<bool, Outcome> {
    let hashed = read::<u64>(dentry + offset!(dentry_hash_pprev))? != 0;
    let parent = read::<u64>(dentry + offset!(dentry_parent))?;
    Ok(!hashed && parent != dentry)
}
