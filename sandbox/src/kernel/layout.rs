//! Where this kernel keeps what the programs read: [`ringfence_abi::layout`], looked up in its BTF.

use std::{collections::HashMap, fs, io};

use btfparse::{Offset, Readable, TypeInformation, TypeVariant};
use ringfence_abi::layout::{ABSENT, Layout, MEMBERS};

use super::{Error, moves};

/// Where the kernel shows its type information.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// What the programs have to know of this kernel.
pub(super) struct Kernel {
    /// Offsets in the order of [`MEMBERS`].
    pub(super) offsets: [u32; MEMBERS.len()],
    /// Whether `inode_setattr` has the id mapping as its first argument.
    pub(super) setattr_has_mapping: bool,
    types: Types,
}

/// What the prototypes of LSM hooks are called, before the hook's name.
const HOOK: &str = "bpf_lsm_";

/// The kernel's types.
struct Types {
    all: TypeInformation,
    /// Structures of [`MEMBERS`] by name: some names are taken more than once.
    structures: HashMap<&'static str, Vec<u32>>,
    /// Prototypes of LSM hooks by name.
    prototypes: HashMap<String, u32>,
}

impl Kernel {
    /// Looks everything up. A member that is missing and not optional is an error.
    pub(super) fn read() -> Result<Self, Error> {
        let types = Types::read()?;
        let mut offsets = [ABSENT; MEMBERS.len()];
        for (offset, member) in offsets.iter_mut().zip(MEMBERS) {
            match types.offset(member.structure, member.member) {
                Some(found) => *offset = found,
                None if member.optional => {}
                None => return Err(missing(member.structure, member.member)),
            }
        }
        check(&Layout::from_offsets(&offsets))?;
        let first = types
            .parameters("inode_setattr")
            .ok_or_else(|| Error::Layout(format!("{HOOK}inode_setattr")))?;
        let setattr_has_mapping = first.first().is_some_and(|name| name != "dentry");
        Ok(Self {
            offsets,
            setattr_has_mapping,
            types,
        })
    }

    /// Where renames and changes of mounts are counted.
    pub(super) fn moves(&self) -> [u64; 2] {
        moves::counters(&Layout::from_offsets(&self.offsets))
    }

    /// Whether programs on cgroups are shown the addresses of Unix sockets: a length beside the address came with them (include/linux/filter.h,
    /// 6.7).
    pub(super) fn has_unix_on_cgroups(&self) -> bool {
        let layout = Layout::from_offsets(&self.offsets);
        layout.passed_address != ABSENT && layout.passed_length != ABSENT
    }

    /// Whether this kernel has the LSM hook.
    pub(super) fn has_hook(&self, hook: &str) -> bool {
        self.types.parameters(hook).is_some()
    }
}

fn missing(structure: &str, member: &str) -> Error {
    Error::Layout(format!("{structure}.{member}"))
}

/// What the programs take for granted about neighbours.
fn check(layout: &Layout) -> Result<(), Error> {
    // The walk reads `d_parent` and `d_name` at once.
    let side_by_side = layout.dentry_name == layout.dentry_parent + 8
        && layout.name_length == 4
        && layout.name_bytes == 8;
    if !side_by_side {
        return Err(Error::Layout(
            "d_parent beside d_name in struct dentry".to_owned(),
        ));
    }
    if layout.mount_mountpoint != layout.mount_parent + 8 {
        return Err(Error::Layout(
            "mnt_parent beside mnt_mountpoint in struct mount".to_owned(),
        ));
    }
    if layout.dentry_inline == ABSENT && layout.dentry_short_name == ABSENT {
        return Err(Error::Layout("short names in struct dentry".to_owned()));
    }
    if layout.mount_instance == ABSENT && layout.mount_next == ABSENT {
        return Err(Error::Layout(
            "list of a superblock's mounts in struct mount".to_owned(),
        ));
    }
    Ok(())
}

impl Types {
    fn read() -> Result<Self, Error> {
        let bytes = fs::read(VMLINUX).map_err(|error| Error::Btf(error.to_string()))?;
        let all = TypeInformation::new(&Bytes(bytes))
            .map_err(|error| Error::Btf(format!("{error:?}")))?;
        let mut structures: HashMap<&str, Vec<u32>> = MEMBERS
            .iter()
            .map(|member| (member.structure, Vec::new()))
            .collect();
        let mut prototypes = HashMap::new();
        for (&id, kind) in all.get() {
            match kind {
                TypeVariant::Struct(found) => {
                    let name = found.name().as_deref().unwrap_or_default();
                    if let Some(ids) = structures.get_mut(name) {
                        ids.push(id);
                    }
                }
                TypeVariant::Func(found) => {
                    let name = found.name().as_deref().unwrap_or_default();
                    if let Some(hook) = name.strip_prefix(HOOK) {
                        prototypes.insert(hook.to_owned(), *found.prototype_tid());
                    }
                }
                _ => {}
            }
        }
        Ok(Self {
            all,
            structures,
            prototypes,
        })
    }

    /// The byte offset of `member`, a path with dots, in `structure`, searched through anonymous structures and unions;
    /// `None` if there is no such member.
    fn offset(&self, structure: &str, member: &str) -> Option<u32> {
        let candidates = self.structures.get(structure)?;
        candidates
            .iter()
            .find_map(|&id| match self.all.offset_of(id, member) {
                Ok((_, Offset::ByteOffset(offset))) => Some(offset),
                // A bit field has no address to read at.
                Ok((_, Offset::BitOffsetAndSize(..))) | Err(_) => None,
            })
    }

    /// The names of a hook's parameters; `None` if there is no such hook.
    fn parameters(&self, hook: &str) -> Option<Vec<String>> {
        let prototype = self.prototypes.get(hook)?;
        let TypeVariant::FuncProto(prototype) = self.all.get().get(prototype)? else {
            return None;
        };
        let names = prototype
            .parameter_list()
            .iter()
            .map(|parameter| parameter.name().unwrap_or_default());
        Some(names.collect())
    }
}

/// The type information in memory.
struct Bytes(Vec<u8>);

impl Readable for Bytes {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> btfparse::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        let found = self.0.get(start..end);
        buffer.copy_from_slice(found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }
}
