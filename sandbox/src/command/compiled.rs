//! A profile and the policy that it comes to. Whoever has compiled it for the same command, directory and flags has kept what was read
//! and looked at for it, and where all of that is as it was, the policy is what it was, too:
//!
//! ```text
//! key of profiles' names, flags and variables --> files that were read, paths that were looked at
//! key of that, of all that these files say and of what stands at these paths --> outline of the policy --> its automata
//! ```
//!
//! Every file is read and every path looked at by every run all the same, each once; what is spared is to make rules of it. Whoever is
//! told of a denial, or runs a resolver, has the rules made then, of what this run has seen.

use std::{
    cell::{OnceCell, RefCell},
    ffi::{OsStr, OsString},
    hash::Hash as _,
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustc_hash::FxHashMap;

use super::{Failure, memory::Remembered};
use crate::{
    compile::{self, Entry, Explainer, Look, Outline, is_followed},
    policy::{Key, KeyHasher, Memory, Policy},
    profile::{self, CommandLine, Effective, Found, Reader, Variables, read_file},
};

/// What tells keys apart of builds that read, bind or compile otherwise.
const KIND: &str = concat!("profile-", env!("RINGFENCE_COMPILER_DIGEST"));
/// Begin a path in what is kept; it ends with a NUL.
const FILE: u8 = b'f';
const ENTRY: u8 = b'e';

/// What is asked for.
#[derive(Debug, Hash)]
pub(in crate::command) struct Wanted {
    /// Names or paths of profiles, see [`profile::load`].
    pub(in crate::command) profiles: Vec<OsString>,
    pub(in crate::command) command_line: CommandLine,
    pub(in crate::command) variables: Variables,
}

/// The rules behind a policy, for who asks for them.
#[derive(Debug)]
pub(in crate::command) struct Source {
    wanted: Wanted,
    /// Names what was asked of the disk for the same.
    key: Key,
    seen: Seen,
    effective: OnceCell<Effective>,
    explainer: OnceCell<Explainer>,
}

/// What was found on disk: whoever asks twice gets the same answer.
#[derive(Debug, Default)]
struct Seen {
    files: RefCell<FxHashMap<PathBuf, Found>>,
    entries: RefCell<FxHashMap<Vec<u8>, Entry>>,
    /// What was asked for, in order.
    asked: RefCell<Vec<u8>>,
}

/// The policy that `wanted` comes to, and its rules. After that nothing is looked at any more.
///
/// # Errors
/// If a profile cannot be read, or not be compiled.
pub(in crate::command) fn compiled(
    wanted: Wanted,
    look: Look<'_>,
    remembered: &Remembered,
) -> Result<(Policy, Source), Failure> {
    let source = Source::new(wanted);
    let policy = remembered.lend(|memory| match source.recall(look, memory) {
        Some(policy) => Ok(policy),
        None => source.compile(look, memory),
    })?;
    Ok((policy, source))
}

impl Source {
    fn new(wanted: Wanted) -> Self {
        let mut hasher = KeyHasher::new(KIND);
        wanted.hash(&mut hasher);
        Self {
            wanted,
            key: hasher.key(),
            seen: Seen::default(),
            effective: OnceCell::new(),
            explainer: OnceCell::new(),
        }
    }

    /// What it is the source of.
    pub(in crate::command) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// The profile.
    ///
    /// # Errors
    /// If it cannot be read: where there is a policy, it could.
    pub(in crate::command) fn effective(&self) -> Result<&Effective, Failure> {
        self.load(&|_| Err(io::ErrorKind::NotFound.into()))
    }

    /// Its rules, to be asked.
    ///
    /// # Errors
    /// As [`Self::effective`].
    pub(in crate::command) fn explainer(&self) -> Result<&Explainer, Failure> {
        if let Some(known) = self.explainer.get() {
            return Ok(known);
        }
        let look = |path: &[u8]| self.seen.look(path, &|_| Entry::Missing);
        let variables = &self.wanted.variables;
        let explainer = compile::explainer(self.effective()?, variables, &look)?;
        Ok(self.explainer.get_or_init(|| explainer))
    }

    /// The profile; files that have not been read yet are read by `read`.
    fn load(&self, read: Reader<'_>) -> Result<&Effective, Failure> {
        if let Some(known) = self.effective.get() {
            return Ok(known);
        }
        let Wanted {
            profiles,
            command_line,
            variables: _,
        } = &self.wanted;
        let read = |path: &Path| self.seen.read(path, read);
        let effective = profile::load_by(&read, profiles, command_line.clone())?;
        Ok(self.effective.get_or_init(|| effective))
    }

    fn compile(&self, look: Look<'_>, memory: Memory<'_>) -> Result<Policy, Failure> {
        self.seen.asked.borrow_mut().clear();
        let effective = self.load(&read_file)?;
        let seen = |path: &[u8]| self.seen.look(path, look);
        let variables = &self.wanted.variables;
        let (policy, explainer, outline) =
            compile::compile_remembering(effective, variables, &seen, memory)?;
        self.explainer.get_or_init(|| explainer);
        let asked = self.seen.asked.take();
        if let (Some(key), Some(outline)) = (self.key_of_seen(&asked, look), outline.encode()) {
            (memory.keep)(&self.key, &asked);
            (memory.keep)(&key, &outline);
        }
        Ok(policy)
    }

    /// The policy, if it was compiled from the same before.
    fn recall(&self, look: Look<'_>, memory: Memory<'_>) -> Option<Policy> {
        let asked = (memory.recall)(&self.key)?;
        let key = self.key_of_seen(&asked, look)?;
        let outline = (memory.recall)(&key)?;
        Outline::decode(&outline)?.recall(memory)
    }

    /// Names what the same comes to with all that is there now of what was `asked` for; `None` if a file of it cannot be read, or if
    /// that is no such list.
    fn key_of_seen(&self, asked: &[u8], look: Look<'_>) -> Option<Key> {
        let mut hasher = KeyHasher::new("seen");
        self.key.hash(&mut hasher);
        asked.hash(&mut hasher);
        let mut rest = asked;
        while !rest.is_empty() {
            let end = rest.iter().position(|&byte| byte == 0)?;
            let (kind, path) = rest[..end].split_first()?;
            rest = &rest[end + 1..];
            match *kind {
                FILE => {
                    let path = Path::new(OsStr::from_bytes(path));
                    self.seen.read(path, &read_file).ok()?.hash(&mut hasher);
                }
                ENTRY => match self.seen.look(path, look) {
                    // Where it leads is in no policy: it is another place for each process.
                    Entry::Link(_) if !is_followed(path) => "elsewhere".hash(&mut hasher),
                    entry => entry.hash(&mut hasher),
                },
                _ => return None,
            }
        }
        Some(hasher.key())
    }
}

impl Seen {
    fn read(&self, path: &Path, read: Reader<'_>) -> io::Result<Found> {
        self.ask(FILE, path.as_os_str().as_bytes());
        if let Some(known) = self.files.borrow().get(path) {
            return Ok(known.clone());
        }
        let found = read(path)?;
        let mut files = self.files.borrow_mut();
        files.insert(path.to_owned(), found.clone());
        Ok(found)
    }

    fn look(&self, path: &[u8], look: Look<'_>) -> Entry {
        self.ask(ENTRY, path);
        if let Some(known) = self.entries.borrow().get(path) {
            return known.clone();
        }
        let entry = look(path);
        let mut entries = self.entries.borrow_mut();
        entries.insert(path.to_vec(), entry.clone());
        entry
    }

    fn ask(&self, kind: u8, path: &[u8]) {
        let mut asked = self.asked.borrow_mut();
        asked.push(kind);
        asked.extend(path);
        asked.push(0);
    }
}

#[cfg(test)]
mod tests;
