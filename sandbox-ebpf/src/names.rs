//! Creating, removing and renaming directory entries.

use aya_ebpf::programs::LsmContext;
use ringfence_abi::{
    event::{cause, operation},
    policy::{Label, MODE_AUDIT},
    rights,
    surface::Surfaces,
};

use crate::{
    files, identity,
    kernel::{Typed, offset},
    matching::Answer,
    outcome::Outcome,
    pseudo,
    scratch::Slot,
    surface,
    verdict::{self, ACROSS, ALLOW, Object, Question},
    walk::bounded,
};

/// Where the kind of a file begins in its mode (include/uapi/linux/stat.h, `S_IFMT`).
const KIND_SHIFT: u32 = 12;
const EXCHANGE: u32 = 2;

/// `path_mknod`: new files of every kind but directories and links, those of `O_CREAT` and `bind` included.
#[inline(always)]
pub fn create(context: &LsmContext) -> i32 {
    // VERIFIER: counted out and not chosen, or all that follows is gone through for either. Kinds are numbers of four bits, of which
    // that of a regular file is the highest.
    let other_bits = u64::from(context.arg::<u32>(2) >> KIND_SHIFT) & 7;
    let is_special = bounded!((other_bits + 7) >> 3, 1) as u16;
    entry(context, operation::CREATE + is_special * (operation::MKNOD - operation::CREATE))
}

/// `path_mkdir`, `path_symlink`, `path_unlink`, `path_rmdir`, and [`create`]: one entry of a directory comes or goes.
#[inline(always)]
pub fn entry(context: &LsmContext, operation: u16) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let (directory, dentry) = (Typed::argument(context, 0), Typed::argument(context, 1));
    if verdict::is_plainly_allowed(label, rights::WRITE, dentry, directory.pointer(offset!(path_mount))) {
        return ALLOW;
    }
    let question = Question { label, operation, needed: rights::WRITE };
    verdict::of(question, Object::entry(directory.address(), dentry.address()))
}

/// `path_link(old_dentry, new_dir, new_dentry)`: the new name must not allow what the old one does not. The old name's
/// mount is the new one's: a link across mounts fails before (fs/namei.c, `do_linkat`).
#[inline(always)]
pub fn link(context: &LsmContext) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    let directory = context.arg::<u64>(1);
    let old = Object::entry(directory, context.arg::<u64>(0));
    let new = Object::entry(directory, context.arg::<u64>(2));
    let question = Question { label, operation: operation::LINK, needed: rights::WRITE };
    both(question, old, new, 0, |answers| {
        answers.new.granted & !answers.old.granted == 0 && enters_no_other(answers.new, answers.old)
    })
}

/// Whether an exec of `name` enters no program that an exec of `than` does not.
#[inline(always)]
fn enters_no_other(name: Answer, than: Answer) -> bool {
    name.program == 0 || name.program == than.program
}

/// `path_rename(old_dir, old_dentry, new_dir, new_dentry, flags)`: both names are written. A file must not gain rights
/// by its new name; a directory takes everything below with it, so that both names must lead to the same state.
#[inline(always)]
pub fn rename(context: &LsmContext) -> i32 {
    let Some(label) = identity::current() else {
        return ALLOW;
    };
    // Both lie in one mount (fs/namei.c, `do_renameat2`).
    let vfsmount = Typed::argument(context, 0).pointer(offset!(path_mount));
    let (old, new) = (Typed::argument(context, 1), Typed::argument(context, 3));
    if verdict::are_plainly_alike(label, rights::WRITE, old, new, vfsmount) {
        return ALLOW;
    }
    let (old_dentry, new_dentry) = (old.address(), new.address());
    let exchange = context.arg::<u32>(4) & EXCHANGE != 0;
    let old = Object::entry(context.arg::<u64>(0), old_dentry);
    let new = Object::entry(context.arg::<u64>(2), new_dentry);
    let question = Question { label, operation: operation::RENAME, needed: rights::WRITE };
    let directory = match (files::is_directory(old_dentry), files::is_directory(new_dentry)) {
        (Ok(old), Ok(new)) => old || (exchange && new),
        // What cannot be told is judged by the stricter rule.
        _ => true,
    };
    both(question, old, new, rights::WRITE, |answers| {
        let same_below = answers.new.below == answers.old.below;
        let no_gain = answers.new.granted & !answers.old.granted == 0
            && enters_no_other(answers.new, answers.old);
        let no_gain_back = answers.old.granted & !answers.new.granted == 0
            && enters_no_other(answers.old, answers.new);
        no_gain && (no_gain_back || !exchange) && (same_below || !directory)
    })
}

/// What the policy says of the two names.
struct Answers {
    old: Answer,
    new: Answer,
}

/// Judges an act on two names: `old_needed` on the old one, the question's rights on the new one, and `fits` of both.
#[inline(always)]
fn both(
    question: Question,
    old: Result<Object, Outcome>,
    new: Result<Object, Outcome>,
    old_needed: u8,
    fits: impl FnOnce(&Answers) -> bool,
) -> i32 {
    // Both names lie in one file system; procfs, whose entries are not all alike, has neither renames nor links.
    match new.and_then(|new| pseudo::closed_to(rights::WRITE, question.label, new.dentry)) {
        Ok(Surfaces::NONE) => {}
        Ok(surface) => return surface::refuse(question.label, surface, question.operation, 0),
        Err(outcome) => return verdict::failed(question, outcome),
    }
    verdict::with_slot(question.label, |slot| {
        match ask_both(slot, question.label, old, new) {
            Ok(answers) => judge_both(slot, question, &answers, old_needed, fits),
            Err(outcome) => {
                let mode = verdict::mode_of(question.label);
                verdict::refuse(slot, question, outcome.0, 0, mode, false)
            }
        }
    })
}

#[inline(always)]
fn ask_both(
    slot: *mut Slot,
    label: Label,
    old: Result<Object, Outcome>,
    new: Result<Object, Outcome>,
) -> Result<Answers, Outcome> {
    // SAFETY: `slot` is a map value.
    let (path, other) = unsafe { (&raw mut (*slot).path, &raw mut (*slot).other) };
    Ok(Answers {
        old: verdict::ask(path, label, old?)?,
        new: verdict::ask(other, label, new?)?,
    })
}

#[inline(always)]
fn judge_both(
    slot: *mut Slot,
    question: Question,
    answers: &Answers,
    old_needed: u8,
    fits: impl FnOnce(&Answers) -> bool,
) -> i32 {
    let mode = answers.new.mode;
    let granted = answers.new.granted;
    if answers.old.granted & old_needed != old_needed {
        return verdict::refuse(slot, question, cause::RULE, answers.old.granted, mode, true);
    }
    if granted & question.needed != question.needed {
        return verdict::refuse(slot, question, cause::RULE, granted, mode, true);
    }
    if fits(answers) {
        return ALLOW;
    }
    match verdict::refuse(slot, question, cause::RIGHTS_DIFFER, granted, mode, true) {
        ALLOW => ALLOW,
        _ if mode == MODE_AUDIT => ALLOW,
        _ => ACROSS,
    }
}
