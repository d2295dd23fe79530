//! Executing, and mapping as code.

use aya_ebpf::programs::LsmContext;
use ringfence_abi::{
    event::{cause, operation},
    layout::ABSENT,
    rights,
};

use crate::{
    identity,
    kernel::{offset, read},
    outcome::Outcome,
    special,
    verdict::{self, ALLOW, Object, Question},
    walk,
};

/// `PROT_EXEC`.
const EXECUTABLE: u64 = 4;
/// What `bprm_creds_for_exec` returns if a task of a fenced cgroup cannot be labelled (`-EPERM`).
const NOT_ENROLLED: i32 = -1;

/// `bprm_creds_for_exec`: once per `execve`, in the task, before anything of the new program is trusted. A task that
/// stands in a fenced cgroup is fenced from here on, and the program that it starts is judged like any other.
#[inline(always)]
pub fn enrol(_context: &LsmContext) -> i32 {
    match identity::enrol() {
        Ok(_) => ALLOW,
        Err(()) => NOT_ENROLLED,
    }
}

/// `bprm_check_security`: the program, and after a `#!` line its interpreter.
#[inline(always)]
pub fn check(context: &LsmContext) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let program = context.arg::<u64>(0);
    let file = read::<u64>(program + offset!(program_file));
    run(Question { label, operation: operation::EXEC, needed: rights::EXEC }, file)
}

/// `mmap_file`: `prot` is what the mapping gets, personality included; `reqprot` is what was asked for.
#[inline(always)]
pub fn map(context: &LsmContext) -> i32 {
    let file = context.arg::<u64>(0);
    if file == 0 || context.arg::<u64>(2) & EXECUTABLE == 0 {
        return ALLOW;
    }
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    run(Question { label, operation: operation::MAP_EXEC, needed: rights::EXEC }, Ok(file))
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
fn as_opened(file: u64) -> Result<Object, Outcome> {
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
fn is_removed(dentry: u64) -> Result<bool, Outcome> {
    let hashed = read::<u64>(dentry + offset!(dentry_hash_pprev))? != 0;
    let parent = read::<u64>(dentry + offset!(dentry_parent))?;
    Ok(!hashed && parent != dentry)
}
