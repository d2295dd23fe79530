//! `cargo xtask ebpf`: the kernel half, from source to the object that is checked in beside the kernel room.
//!
//! The object lies in the repository so that `cargo build` and `cargo install` need a stable compiler only; this verb
//! is for those who change the programs, and for CI, which shows that the bytes come from the source.

mod builder;
mod object;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::place;
use crate::tool::say;
pub(crate) use builder::Builder;

/// What the verb was asked to do.
#[derive(clap::Args)]
pub(crate) struct Ask {
    /// Compare with the checked-in object instead of replacing it; differing bytes are a failure
    #[arg(long)]
    check: bool,
    /// Install the compiler and the linker if they are missing (as root: apt-get and cargo install)
    #[arg(long)]
    install: bool,
}

/// How a rebuilt object compares with the checked-in one.
pub(crate) enum Comparison {
    /// The same bytes.
    Same,
    /// Other bytes, though compiler and linker are those that built the checked-in one.
    Differs,
    /// Another compiler or linker: bytes say nothing. Holds what built the checked-in one.
    OtherBuilder(String),
    /// Nothing is checked in.
    Absent,
}

/// The verb.
pub(crate) fn verb(ask: &Ask) -> Result<()> {
    let builder = Builder::find(ask.install)?;
    let rebuilt = object::build(&builder)?;
    if !ask.check {
        let (kept, signed) = (
            place::root().join(place::OBJECT),
            place::root().join(place::OBJECT_BUILDER),
        );
        copy(&rebuilt, &kept)?;
        fs::write(&signed, format!("{}\n", builder.identity()))
            .with_context(|| format!("could not write {}", signed.display()))?;
        say(format!(
            "{} is new; commit it together with its source",
            place::OBJECT
        ));
        return Ok(());
    }
    match compare(&builder, &rebuilt)? {
        Comparison::Same => say(format!("{} is what its source gives", place::OBJECT)),
        Comparison::Differs => bail!("{}", differs(&rebuilt)),
        Comparison::Absent => bail!(
            "{} is not there; build it with `cargo xtask ebpf`",
            place::OBJECT
        ),
        Comparison::OtherBuilder(theirs) => bail!(
            "{} was built by [{theirs}], here is [{}]: bytes cannot be compared; use the same, or renew the object \
             with `cargo xtask ebpf`",
            place::OBJECT,
            builder.identity()
        ),
    }
    Ok(())
}

/// What to say, and do, about [`Comparison::Differs`].
pub(crate) fn differs(rebuilt: &std::path::Path) -> String {
    format!(
        "{} is not what its source gives under the same compiler; renew it with `cargo xtask ebpf` and commit it \
         (rebuilt: {})",
        place::OBJECT,
        rebuilt.display()
    )
}

/// Builds from source; gives the object's path. Touches nothing that is checked in.
pub(crate) fn rebuild(builder: &Builder) -> Result<PathBuf> {
    object::build(builder)
}

/// Compares a rebuilt object with the checked-in one.
pub(crate) fn compare(builder: &Builder, rebuilt: &std::path::Path) -> Result<Comparison> {
    let kept = place::root().join(place::OBJECT);
    if !kept.exists() {
        return Ok(Comparison::Absent);
    }
    let signed = place::root().join(place::OBJECT_BUILDER);
    let theirs = fs::read_to_string(&signed).with_context(|| {
        format!(
            "{} must say what built the object; renew both with `cargo xtask ebpf`",
            place::OBJECT_BUILDER
        )
    })?;
    let same = fs::read(&kept).with_context(|| format!("could not read {}", kept.display()))?
        == fs::read(rebuilt).with_context(|| format!("could not read {}", rebuilt.display()))?;
    Ok(match (same, theirs.trim() == builder.identity()) {
        (true, _) => Comparison::Same,
        (false, true) => Comparison::Differs,
        (false, false) => Comparison::OtherBuilder(theirs.trim().to_owned()),
    })
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("could not copy {} to {}", from.display(), to.display()))
}
