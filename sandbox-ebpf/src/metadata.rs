//! Mode, owner, times, size and attributes; reading a symbolic link.
//!
//! The `path_*` hooks say by which mount an object was reached. The `inode_*` hooks do not: an object is then allowed if
//! it is allowed under one of the names that it has in the task's mount namespace, by which the task could as well reach
//! it.

use aya_ebpf::{cty::c_void, helpers::generated::bpf_loop, programs::LsmContext};
use ringfence_abi::{
    event::{cause, operation},
    layout::ABSENT,
    policy::{Label, MODE_OFF},
    rights,
    surface::Surfaces,
};

use crate::{
    identity,
    kernel::{Typed, offset, read},
    matching,
    outcome::Outcome,
    pseudo,
    scratch::Slot,
    special, surface,
    verdict::{self, ALLOW, Object, Question},
    walk,
};

/// Mounts of one filesystem that are looked at. An object that none of them allows is denied.
const MOUNTS: u32 = 64;
/// `ia_valid` (include/linux/fs.h).
const SIZE: u32 = 1 << 3;
const TIMES: u32 = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 17;

/// `path_truncate`, `path_chmod`, `path_chown`, `path_notify`: the first argument is the path.
#[inline(always)]
pub fn by_path(context: &LsmContext, operation: u16, needed: u8) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let path = Typed::argument(context, 0);
    let (dentry, vfsmount) = (path.pointer(offset!(path_dentry)), path.pointer(offset!(path_mount)));
    if verdict::is_plainly_allowed(label, needed, dentry, vfsmount) {
        return ALLOW;
    }
    let question = Question { label, operation, needed };
    verdict::of(question, Object::of_path(path.address()))
}

/// `inode_setattr`: only for times, the rest has a hook with a path. Truncation sets times as well and has been judged.
#[inline(always)]
pub fn set_times(dentry: Typed, attributes: u64) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    match sets_times(attributes) {
        Ok(false) => ALLOW,
        Ok(true) | Err(_) => {
            let question = Question { label, operation: operation::SET_TIMES, needed: rights::WRITE };
            often_by_dentry(question, dentry)
        }
    }
}

/// Whether a change of attributes is one of times alone.
#[inline(always)]
pub fn sets_times(attributes: u64) -> Result<bool, Outcome> {
    let valid = read::<u32>(attributes + offset!(attributes_valid))?;
    Ok(valid & TIMES != 0 && valid & SIZE == 0)
}

/// `inode_setxattr` and its like.
#[inline(always)]
pub fn change(dentry: Typed, operation: u16) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    by_dentry(Question { label, operation, needed: rights::WRITE }, dentry.address())
}

/// `inode_readlink`.
#[inline(always)]
pub fn read_link(dentry: Typed) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let question = Question { label, operation: operation::READ_LINK, needed: rights::READ };
    often_by_dentry(question, dentry)
}

/// What the search through the mounts of a filesystem carries.
struct Search {
    slot: *mut Slot,
    table: u32,
    size_class: u8,
    dentry: u64,
    namespace: u64,
    /// Where the next mount is found, and where the list ends.
    next: u64,
    end: u64,
    needed: u8,
    /// Whether one of the names is allowed. The rest says why not.
    allowed: u8,
    /// What rules give to the last name that they could be asked about.
    granted: u8,
    /// That rules do not allow a name counts more than that another could not be found.
    cause: u8,
}

impl Search {
    /// One of the names could not be judged. Returns what ends the search.
    #[inline(always)]
    fn failed(&mut self, outcome: Outcome) -> i64 {
        if self.cause != cause::RULE {
            self.cause = outcome.0;
        }
        1
    }
}

/// What is asked often enough for the short way to pay: by the name that the object has on the mount of the task's root.
#[inline(always)]
fn often_by_dentry(question: Question, dentry: Typed) -> i32 {
    let Label { fence, program, size_class, .. } = question.label;
    if is_plainly_allowed(dentry, fence, program.into(), size_class.into(), question.needed.into()) != 0 {
        return ALLOW;
    }
    by_dentry(question, dentry.address())
}

/// VERIFIER: a function of its own, so that nothing of its stack is left for the search through the mounts, which takes most of what
/// there is. It can have five arguments, and none is a structure.
#[inline(never)]
extern "C" fn is_plainly_allowed(dentry: Typed, fence: u32, program: u32, size_class: u32, needed: u32) -> u64 {
    // Lossless: they were bytes.
    let label = Label { program: program as u8, ..Label::new(fence, size_class as u8) };
    let filesystem = Typed::current_task().pointer(offset!(task_filesystem));
    let vfsmount = filesystem.pointer(offset!(filesystem_root) + offset!(path_mount));
    u64::from(verdict::is_plainly_allowed(label, needed as u8, dentry, vfsmount))
}

#[inline(always)]
fn by_dentry(question: Question, dentry: u64) -> i32 {
    // A stacked filesystem at work for the task: what the task did to it has been judged.
    if special::acts_for_another() == Ok(true) {
        return ALLOW;
    }
    if question.needed & rights::WRITE != 0 {
        match pseudo::closed_to(question.needed, question.label, dentry) {
            Ok(Surfaces::NONE) => {}
            Ok(surface) => return surface::refuse(question.label, surface, question.operation, 0),
            Err(outcome) => return verdict::failed(question, outcome),
        }
    }
    verdict::with_slot(question.label, |slot| {
        let (cause, granted) = match search(slot, question, dentry) {
            Ok(search) if search.allowed != 0 => return ALLOW,
            Ok(search) => (search.cause, search.granted),
            Err(outcome) => (outcome.0, 0),
        };
        let mode = verdict::mode_of(question.label);
        verdict::refuse(slot, question, cause, granted, mode, false)
    })
}

#[inline(always)]
fn search(slot: *mut Slot, question: Question, dentry: u64) -> Result<Search, Outcome> {
    let superblock = read::<u64>(dentry + offset!(dentry_superblock))?;
    let list = superblock + offset!(superblock_mounts);
    let mut search = Search {
        slot,
        table: question.label.table(),
        size_class: question.label.size_class,
        dentry,
        namespace: walk::current_namespace()?,
        next: read::<u64>(list)?,
        // A circular list before 6.18, one that ends in NULL since (fs/mount.h).
        end: if is_circular() { list } else { 0 },
        needed: question.needed,
        allowed: 0,
        granted: 0,
        cause: cause::FOREIGN,
    };
    // SAFETY: the callback gets the address of a value on this frame's stack.
    unsafe {
        bpf_loop(
            MOUNTS,
            look_at_one as *const () as *mut c_void,
            (&raw mut search).cast::<c_void>(),
            0,
        );
    }
    Ok(search)
}

#[inline(always)]
fn is_circular() -> bool {
    offset!(mount_instance) != u64::from(ABSENT)
}

/// One mount of the filesystem; returns 1 at the end or when the object is allowed.
extern "C" fn look_at_one(_index: u64, search: *mut Search) -> i64 {
    // SAFETY: `search` is the one that the caller passed.
    let search = unsafe { &mut *search };
    if search.next == search.end || search.next == 0 {
        return 1;
    }
    let mount = if is_circular() {
        search.next.wrapping_sub(offset!(mount_instance))
    } else {
        search.next
    };
    let link = if is_circular() { search.next } else { mount + offset!(mount_next) };
    let Ok(next) = read::<u64>(link) else {
        return search.failed(Outcome::INTERNAL);
    };
    search.next = next;
    if read::<u64>(mount + offset!(mount_namespace)) != Ok(search.namespace) {
        return 0;
    }
    // SAFETY: `slot` is a map value.
    let path = unsafe { &raw mut (*search.slot).path };
    if let Err(outcome) = walk::absolute(path, search.dentry, mount) {
        search.failed(outcome);
        return 0;
    }
    match matching::rights_in(path, search.table, search.size_class.into()) {
        Ok(answer) if answer.mode == MODE_OFF || answer.granted & search.needed == search.needed => {
            search.allowed = 1;
            1
        }
        Ok(answer) => {
            search.cause = cause::RULE;
            search.granted = answer.granted;
            0
        }
        Err(outcome) => search.failed(outcome),
    }
}
