//! Where this kernel keeps what the programs read: [`ringfence_abi::layout`], looked up in its BTF.

use btf_rs::{Btf, BtfType, Member, Type};
use ringfence_abi::layout::{ABSENT, Layout, MEMBERS};

use super::Error;

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

/// The kernel's types.
struct Types(Btf);

impl Kernel {
    /// Looks everything up. A member that is missing and not optional is an error.
    pub(super) fn read() -> Result<Self, Error> {
        let types = Types(Btf::from_file(VMLINUX).map_err(|error| Error::Btf(error.to_string()))?);
        let mut offsets = [ABSENT; MEMBERS.len()];
        for (offset, member) in offsets.iter_mut().zip(MEMBERS) {
            match types.offset(member.structure, member.member)? {
                Some(found) => *offset = found,
                None if member.optional => {}
                None => return Err(missing(member.structure, member.member)),
            }
        }
        check(&Layout::from_offsets(&offsets))?;
        let first = types
            .parameters("bpf_lsm_inode_setattr")?
            .ok_or_else(|| Error::Layout("bpf_lsm_inode_setattr".to_owned()))?;
        let setattr_has_mapping = first.first().is_some_and(|name| name != "dentry");
        Ok(Self {
            offsets,
            setattr_has_mapping,
            types,
        })
    }

    /// Whether this kernel has the LSM hook.
    pub(super) fn has_hook(&self, hook: &str) -> Result<bool, Error> {
        Ok(self.types.parameters(&format!("bpf_lsm_{hook}"))?.is_some())
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
    if layout.mount_instance == ABSENT && layout.mount_next == ABSENT {
        return Err(Error::Layout(
            "list of a superblock's mounts in struct mount".to_owned(),
        ));
    }
    Ok(())
}

impl Types {
    /// The byte offset of `member`, a path with dots, in `structure`; `None` if there is no such member.
    fn offset(&self, structure: &str, member: &str) -> Result<Option<u32>, Error> {
        let Ok(candidates) = self.0.resolve_types_by_name(structure) else {
            return Ok(None);
        };
        for candidate in candidates {
            if let Type::Struct(found) = candidate
                && let Some(bits) = self.bits(&found.members, member)?
            {
                return Ok(Some(bits / 8));
            }
        }
        Ok(None)
    }

    /// The bit offset of a member, searched through anonymous structures and unions.
    fn bits(&self, members: &[Member], path: &str) -> Result<Option<u32>, Error> {
        let (name, rest) = path
            .split_once('.')
            .map_or((path, None), |(n, r)| (n, Some(r)));
        for member in members {
            let found = self.0.resolve_name(member).unwrap_or_default();
            if found == name {
                let Some(rest) = rest else {
                    return Ok(Some(member.bit_offset()));
                };
                let inner = self.members_of(member)?;
                return Ok(self
                    .bits(&inner, rest)?
                    .map(|bits| bits + member.bit_offset()));
            }
            if found.is_empty() {
                let inner = self.members_of(member)?;
                if let Some(bits) = self.bits(&inner, path)? {
                    return Ok(Some(bits + member.bit_offset()));
                }
            }
        }
        Ok(None)
    }

    /// The members of a member's own type, if that is a structure or union.
    fn members_of(&self, member: &Member) -> Result<Vec<Member>, Error> {
        let broken = |error: btf_rs::Error| Error::Btf(error.to_string());
        let mut found = self.0.resolve_chained_type(member).map_err(broken)?;
        loop {
            found = match &found {
                Type::Struct(inner) | Type::Union(inner) => return Ok(inner.members.clone()),
                Type::Typedef(inner) => self.0.resolve_chained_type(inner).map_err(broken)?,
                Type::Const(inner) | Type::Volatile(inner) => {
                    self.0.resolve_chained_type(inner).map_err(broken)?
                }
                _ => return Ok(Vec::new()),
            };
        }
    }

    /// The names of a function's parameters; `None` if there is no such function.
    fn parameters(&self, function: &str) -> Result<Option<Vec<String>>, Error> {
        let broken = |error: btf_rs::Error| Error::Btf(error.to_string());
        let Ok(candidates) = self.0.resolve_types_by_name(function) else {
            return Ok(None);
        };
        for candidate in candidates {
            let Type::Func(found) = candidate else {
                continue;
            };
            if let Type::FuncProto(prototype) =
                self.0.resolve_chained_type(&found).map_err(broken)?
            {
                let names = prototype.parameters.iter().map(|parameter| {
                    self.0
                        .resolve_name(parameter as &dyn BtfType)
                        .unwrap_or_default()
                });
                return Ok(Some(names.collect()));
            }
        }
        Ok(None)
    }
}
