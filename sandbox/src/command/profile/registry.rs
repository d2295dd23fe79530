//! `profile push` and `profile pull`: profiles in registries of container images.

use std::{
    fs::{self, DirBuilder},
    io::{Read as _, Write},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use crate::{
    command::{Failure, learn::write_profile, output},
    oci::{Host, PROFILES},
    profile::{self, MAX_BYTES},
    registry::{self, Address, Artifact, Language, Pulled},
};

/// Where a pulled profile goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Output,
    /// A file.
    File(PathBuf),
    /// The host's own profiles, under a name that containers can ask for.
    Host {
        /// The name.
        name: String,
        /// Whether one of this name may be replaced.
        replace: bool,
    },
}

/// Pushes the profile in `file`, and writes the address that pins it to `out`.
///
/// # Errors
/// If it is no profile, would mean something else elsewhere, or the registry does not take it.
pub fn push(
    file: &Path,
    address: &Address,
    out: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Result<(), Failure> {
    if address.tag().is_none() {
        return Err(Failure::Argument(format!(
            "{address} has a digest, which is made of what is pushed; give a tag"
        )));
    }
    let text = read(file)?;
    let language = match file.extension().is_some_and(|ending| ending == "json") {
        true => Language::Json,
        false => Language::Toml,
    };
    profile::portable(&file.to_string_lossy(), &text, language == Language::Json)?;
    let stem = file.file_stem().unwrap_or(file.as_os_str());
    let artifact = Artifact {
        text,
        language,
        file: format!("{}.{}", stem.to_string_lossy(), language.ending()),
    };
    let digest = registry::push(address, &artifact)?;
    writeln!(
        stderr,
        "ringfence: pushed {} as {address}; its digest:",
        file.display()
    )
    .ok();
    writeln!(out, "{}", address.pinned(&digest)).map_err(output::unwritten)
}

/// Pulls a profile. What is none, or extends what is not here, is not kept.
///
/// # Errors
/// If it cannot be had, is no profile, or its place is taken.
pub fn pull(
    address: &Address,
    destination: &Destination,
    out: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Result<(), Failure> {
    if let Destination::Host { name, replace } = destination {
        // Before anything is asked of a registry.
        taken(name, *replace)?;
    }
    let pulled = registry::pull(address)?;
    let pinned = address.pinned(&pulled.digest);
    let is_json = pulled.language == Language::Json;
    profile::portable(&pinned, &pulled.text, is_json)?;
    match destination {
        Destination::Output => out.write_all(&pulled.text).map_err(output::unwritten)?,
        Destination::File(path) => keep(path, &pulled)?,
        Destination::Host { name, replace } => {
            let path = install(name, *replace, &pulled)?;
            writeln!(
                stderr,
                "ringfence: containers can ask for `{name}` now ({})",
                path.display()
            )
            .ok();
        }
    }
    let told = match address.tag() {
        None => format!("ringfence: pulled {pinned}"),
        Some(tag) => format!(
            "ringfence: pulled {address}. `{tag}` may be another profile tomorrow; this one is\n  {pinned}"
        ),
    };
    writeln!(stderr, "{told}").ok();
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |source| Failure::File {
        action: "read",
        path: file.to_owned(),
        source,
    };
    let mut text = Vec::new();
    let opened = fs::File::open(file).map_err(failed)?;
    opened
        .take(MAX_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(profile::Error::TooLarge {
            file: file.display().to_string(),
            size: text.len() as u64,
            most: MAX_BYTES,
        }
        .into());
    }
    Ok(text)
}

/// The host's profile of this name, if it may be replaced.
fn taken(name: &str, replace: bool) -> Result<Option<PathBuf>, Failure> {
    match Host::profile_file(name)? {
        Some(path) if !replace => Err(Failure::Argument(format!(
            "{} is there already; --replace puts the pulled one in its place",
            path.display()
        ))),
        found => Ok(found),
    }
}

fn install(name: &str, replace: bool, pulled: &Pulled) -> Result<PathBuf, Failure> {
    let path = Path::new(PROFILES).join(format!("{name}.{}", pulled.language.ending()));
    if let Some(other) = taken(name, replace)?
        && other != path
    {
        return Err(Failure::Argument(format!(
            "{} is there already, in another language; remove it first",
            other.display()
        )));
    }
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(PROFILES);
    made.map_err(|source| Failure::File {
        action: "make",
        path: PROFILES.into(),
        source,
    })?;
    keep(&path, pulled)?;
    Ok(path)
}

fn keep(path: &Path, pulled: &Pulled) -> Result<(), Failure> {
    // What was read as a profile is text.
    write_profile(path, &String::from_utf8_lossy(&pulled.text))
}
