//! What a verb needs from the distribution, and how to get it: Debian's apt, with the machine's own configuration.

use std::process::Command;
use std::sync::Once;

use anyhow::{Context, Result, bail};

use crate::tool::{find, is_root, run, say};

/// A program or file, and the package that brings it.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    /// Any one of these is enough: names on `PATH`, or absolute paths.
    pub(crate) any_of: &'static [&'static str],
    /// Debian's name.
    pub(crate) package: &'static str,
}

/// A [`Need`] for one program.
pub(crate) const fn need(any_of: &'static [&'static str], package: &'static str) -> Need {
    Need { any_of, package }
}

/// Packages whose programs are not here.
pub(crate) fn missing(needs: &[Need]) -> Vec<&'static str> {
    let mut packages: Vec<_> = needs
        .iter()
        .filter(|need| {
            !need
                .any_of
                .iter()
                .any(|one| find(one).is_some() || (one.contains('/') && exists(one)))
        })
        .map(|need| need.package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn exists(path: &str) -> bool {
    std::path::Path::new(path).exists()
}

/// Makes sure that everything is here: installs it if asked to and able to, else says what to type.
pub(crate) fn ensure(needs: &[Need], install: bool, why: &str) -> Result<()> {
    let packages = missing(needs);
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !install || !is_root() {
        bail!(
            "{why} needs packages that are not installed; as root: apt-get install --no-install-recommends {list}"
        );
    }
    say(format!("{why}: installing {list}"));
    install_packages(&packages)?;
    let left = missing(needs);
    if !left.is_empty() {
        bail!(
            "apt-get installed {list}, but what {why} needs from {} is still not there",
            left.join(" ")
        );
    }
    Ok(())
}

/// Installs by apt-get, after one update of its lists per run of this program.
pub(crate) fn install_packages(packages: &[&str]) -> Result<()> {
    static UPDATE: Once = Once::new();
    let mut updated = Ok(());
    UPDATE.call_once(|| updated = run(apt_get().arg("update")));
    updated.context("could not update apt's lists")?;
    run(apt_get()
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // Quiet, and its chatter away from standard output, which belongs to the verb.
    command
        .arg("-qq")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(std::io::stderr());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_package_of_a_missing_program() {
        let needs = [
            need(&["no-such-program-here"], "some-package"),
            need(&["sh"], "dash"),
        ];
        assert_eq!(missing(&needs), ["some-package"]);
    }

    #[test]
    fn without_leave_to_install_the_error_says_what_to_type() {
        let needs = [need(&["no-such-program-here"], "some-package")];
        let message = ensure(&needs, false, "a test").unwrap_err().to_string();
        assert!(
            message.contains("apt-get install") && message.contains("some-package"),
            "{message}"
        );
    }
}
