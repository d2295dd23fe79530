//! The first file system of a machine: busybox, the modules that reach this host's files, and the guest's scripts.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::job::Job;
use crate::tool::read;

/// Its name beside the kernel's image.
pub(crate) const FILE: &str = "initrd.cpio";

const INIT: &str = include_str!("guest/init.sh");
const SESSION: &str = include_str!("guest/session.sh");

/// Without these no machine comes up.
const REQUIRED: [&str; 5] = [
    "virtio_pci",
    "virtiofs",
    "overlay",
    "virtio_console",
    "virtio_rng",
];
/// What tests may use, where the kernel has it: containers and their networks.
const WELCOME: [&str; 12] = [
    "veth",
    "bridge",
    "dummy",
    "tun",
    "nf_tables",
    "nft_compat",
    "nft_chain_nat",
    "xt_comment",
    "xt_MASQUERADE",
    "xt_addrtype",
    "xt_mark",
    "xt_conntrack",
];

/// Changes with what this file puts into the archive.
pub(crate) fn revision() -> String {
    let mut hasher = DefaultHasher::new();
    (INIT, SESSION, REQUIRED, WELCOME).hash(&mut hasher);
    format!("{:08x}", hasher.finish() >> 32)
}

/// From the unpacked packages in `tree`: image, initrd and version in `finished`.
pub(crate) fn build(tree: &Path, finished: &Path) -> Result<()> {
    let modules = only_folder(&[tree.join("usr/lib/modules"), tree.join("lib/modules")])?;
    let version = modules
        .file_name()
        .context("a modules folder without a name")?
        .to_string_lossy()
        .into_owned();
    let image = [
        modules.join("vmlinuz"),
        tree.join(format!("boot/vmlinuz-{version}")),
    ];
    let image = image
        .iter()
        .find(|path| path.exists())
        .with_context(|| format!("{version} has no image"))?;
    fs::copy(image, finished.join("vmlinuz")).context("could not copy the kernel's image")?;
    fs::write(finished.join("version"), format!("{version}\n"))?;

    let content = finished.join("content");
    for folder in [
        "bin", "dev", "job", "modules", "overlay", "proc", "root", "sys", "top",
    ] {
        fs::create_dir_all(content.join(folder))?;
    }
    fs::copy("/bin/busybox", content.join("bin/busybox")).context("could not copy busybox")?;
    let mut order = Order {
        modules,
        content: content.join("modules"),
        seen: BTreeSet::new(),
        order: Vec::new(),
    };
    for name in REQUIRED {
        order.add(name, true)?;
    }
    for name in WELCOME {
        order.add(name, false)?;
    }
    fs::write(content.join("modules/order"), order.order.join("\n") + "\n")?;
    for (name, text) in [("init", INIT), ("session.sh", SESSION)] {
        fs::write(content.join(name), text)?;
        fs::set_permissions(content.join(name), fs::Permissions::from_mode(0o755))?;
    }
    archive(&content, &finished.join(FILE))?;
    fs::remove_dir_all(&content).context("could not remove the unpacked initrd")
}

/// The kernel's own initrd followed by one that holds the job: the kernel unpacks both into one tree.
pub(crate) fn with_job(base: &Path, job: &Job, work: &Path) -> Result<PathBuf> {
    let content = work.join("content");
    fs::create_dir_all(content.join("job"))?;
    fs::write(content.join("job/command.sh"), job.script())?;
    fs::write(content.join("job/binds.sh"), job.bind_script())?;
    let added = work.join("job.cpio");
    archive(&content, &added)?;
    let mut bytes = fs::read(base).with_context(|| format!("could not read {}", base.display()))?;
    // An archive starts at a multiple of four bytes.
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(fs::read(&added)?);
    let whole = work.join(FILE);
    fs::write(&whole, bytes).with_context(|| format!("could not write {}", whole.display()))?;
    Ok(whole)
}

fn archive(content: &Path, to: &Path) -> Result<()> {
    let file = fs::File::create(to).with_context(|| format!("could not make {}", to.display()))?;
    let status = Command::new("sh")
        .args([
            "-c",
            "find . | LC_ALL=C sort | cpio --create --format=newc --quiet",
        ])
        .current_dir(content)
        .stdout(Stdio::from(file))
        .status()
        .context("could not start cpio")?;
    if !status.success() {
        bail!("cpio failed on {}: {status}", content.display());
    }
    Ok(())
}

fn only_folder(candidates: &[PathBuf]) -> Result<PathBuf> {
    for candidate in candidates {
        if let Ok(mut entries) = fs::read_dir(candidate)
            && let Some(entry) = entries.next()
        {
            return Ok(entry?.path());
        }
    }
    bail!("the kernel's packages hold no modules")
}

/// Modules in the order in which they load.
struct Order {
    modules: PathBuf,
    content: PathBuf,
    seen: BTreeSet<String>,
    order: Vec<String>,
}

impl Order {
    /// Adds what the module needs, then the module. One that is built in, or only welcome and not there, is passed over.
    fn add(&mut self, name: &str, required: bool) -> Result<()> {
        if !self.seen.insert(name.replace('-', "_")) {
            return Ok(());
        }
        let Some(file) = self.find(name)? else {
            if required && !self.built_in(name) {
                bail!("this kernel has no {name}, neither built in nor as a module");
            }
            return Ok(());
        };
        let plain = self.content.join(format!("{name}.ko"));
        unpack(&file, &plain)?;
        let bytes =
            fs::read(&plain).with_context(|| format!("could not read {}", plain.display()))?;
        for needed in depends(&bytes) {
            self.add(&needed, required)?;
        }
        self.order.push(name.to_owned());
        Ok(())
    }

    fn find(&self, name: &str) -> Result<Option<PathBuf>> {
        let (underscores, dashes) = (name.replace('-', "_"), name.replace('_', "-"));
        let mut command = Command::new("find");
        command.arg(&self.modules).args([
            "-name",
            &format!("{underscores}.ko*"),
            "-o",
            "-name",
            &format!("{dashes}.ko*"),
        ]);
        Ok(read(&mut command)?.lines().next().map(PathBuf::from))
    }

    fn built_in(&self, name: &str) -> bool {
        let list = fs::read_to_string(self.modules.join("modules.builtin")).unwrap_or_default();
        list.lines().any(|line| {
            let file = line.rsplit('/').next().unwrap_or(line);
            file.trim_end_matches(".ko").replace('-', "_") == name
        })
    }
}

fn unpack(from: &Path, to: &Path) -> Result<()> {
    let tool = match from.extension().and_then(|ending| ending.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => {
            return fs::copy(from, to)
                .map(drop)
                .with_context(|| format!("could not copy {}", from.display()));
        }
    };
    let output = Command::new(tool)
        .args(["-dcq"])
        .arg(from)
        .output()
        .with_context(|| format!("could not start {tool}"))?;
    if !output.status.success() {
        bail!("{tool} could not unpack {}", from.display());
    }
    fs::write(to, output.stdout).with_context(|| format!("could not write {}", to.display()))
}

/// The `depends=` line of a module's own description.
fn depends(module: &[u8]) -> Vec<String> {
    let text = module
        .split(|byte| *byte == 0)
        .find_map(|part| part.strip_prefix(b"depends="));
    let text = String::from_utf8_lossy(text.unwrap_or_default()).into_owned();
    text.split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modules_needs_are_read_from_its_description() {
        assert_eq!(
            depends(b"\0license=GPL\0depends=fuse,virtio_ring\0"),
            ["fuse", "virtio_ring"]
        );
        assert!(depends(b"license=GPL\0depends=\0").is_empty());
    }
}
