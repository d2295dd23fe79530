//! The profiles that the cases run under.

use std::path::PathBuf;

use libtest_mimic::Failed;

use super::case::World;
use crate::kit::Folder;

/// Where it is in the stage.
pub(super) fn path(folder: &Folder) -> PathBuf {
    folder.at("trial/escape.toml")
}

/// Writes the profile of this world.
pub(super) fn write(folder: &Folder, world: World) -> Result<(), Failed> {
    let at = |name: &str| folder.at(name).display().to_string();
    let attacker = std::env::current_exe()?;
    let programs = format!(
        "{:?}, {:?}, '/bin/{{sh,cat,true,id}}'",
        attacker.display().to_string(),
        at("bin/*")
    );
    let rules = match world {
        World::Wide => "read = ['/**']\nwrite = ['/**']\nexec = ['/**']".to_owned(),
        World::Least | World::Opened | World::Limited | World::Works => format!(
            "read = [{programs}, {:?}, {:?}]\nwrite = [{:?}]\nexec = [{programs}]",
            at("read/**"),
            at("open/**"),
            at("open/**")
        ),
    };
    let more = match world {
        // With the capabilities that the calls ask for besides.
        World::Opened => {
            "[kernel]\nallow = ['io-uring', 'userns', 'mount', 'chroot']\n\
             [process]\ncapabilities = ['sys_admin', 'sys_chroot', 'dac_read_search']\n"
        }
        World::Limited => {
            "[limits]\nmemory = '96MiB'\npids = 32\nopen-files = 64\nfile-size = '1MiB'\n"
        }
        World::Least | World::Wide | World::Works => "",
    };
    // Without BPF LSM, a ring goes round the filter of sockets.
    let accepted = match world {
        World::Opened => "network = 'best-effort'\n",
        _ => "",
    };
    // Limits need controllers that not every machine has; what is not kept shows in the cases.
    let text = format!(
        "version = 1\nname = '{}'\nextends = ['base']\n[files]\n{rules}\n{more}[protection]\nlimits = 'best-effort'\n{accepted}",
        world.name()
    );
    folder.file("trial/escape.toml", &text)?;
    Ok(())
}
