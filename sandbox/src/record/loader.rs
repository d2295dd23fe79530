//! The loader that the kernel executes for a program: it is named in the program's header, and no system call names it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
};

use object::{
    Endianness,
    elf::FileHeader64,
    read::{
        ReadCache, ReadRef,
        elf::{FileHeader as _, ProgramHeader as _},
    },
};

/// The resolved path of the loader of the program at `path`; none for what is linked statically, and for scripts.
pub(super) fn of(path: &[u8]) -> Option<Vec<u8>> {
    let file = File::open(OsStr::from_bytes(path)).ok()?;
    let name = interpreter(&ReadCache::new(file))?;
    let found = fs::canonicalize(OsStr::from_bytes(&name)).ok()?;
    Some(found.into_os_string().into_vec())
}

/// `PT_INTERP` (elf(5)).
fn interpreter<'data>(data: impl ReadRef<'data>) -> Option<Vec<u8>> {
    let header = FileHeader64::<Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let headers = header.program_headers(endian, data).ok()?;
    let mut names = headers
        .iter()
        .filter_map(|header| header.interpreter(endian, data).ok().flatten());
    names.next().map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_names_its_loader_and_a_script_has_none() {
        let own = std::env::current_exe().unwrap();
        let loader = of(own.as_os_str().as_bytes());
        if cfg!(target_env = "gnu") {
            let loader = String::from_utf8(loader.unwrap()).unwrap();
            assert!(loader.contains("ld-linux"), "{loader}");
        }
        let script = tempfile::NamedTempFile::new().unwrap();
        fs::write(script.path(), "#!/bin/sh\n").unwrap();
        assert_eq!(of(script.path().as_os_str().as_bytes()), None);
    }
}
