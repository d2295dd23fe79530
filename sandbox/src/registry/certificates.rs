//! Whom a registry may be vouched for by, beyond whom the host trusts: what podman and docker read (containers-certs.d(5)).

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use oci_client::client::{Certificate, CertificateEncoding};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::{Address, Error};

/// Where engines' administrators put them, a folder for each registry in it.
const OF_THE_HOST: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

/// The certificates of the first folder that is there for the registry at `address`; `None` if there is none.
///
/// # Errors
/// If one cannot be read, or is one that would have to be shown to the registry.
pub(super) fn of(address: &Address) -> Result<Option<Vec<Certificate>>, Error> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    for above in folders(variable) {
        let folder = above.join(address.registry());
        match fs::read_dir(&folder) {
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(failed(&folder, &error)),
            Ok(listing) => {
                let paths = listing.map(|entry| entry.map(|entry| entry.path()));
                let paths = paths.collect::<io::Result<_>>();
                return in_files(paths.map_err(|error| failed(&folder, &error))?).map(Some);
            }
        }
    }
    Ok(None)
}

fn folders(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let home = variable("HOME").map(|home| Path::new(&home).join(".config"));
    let configured = variable("XDG_CONFIG_HOME").map(PathBuf::from).or(home);
    let own = configured.map(|folder| folder.join("containers/certs.d"));
    own.into_iter()
        .chain(OF_THE_HOST.map(PathBuf::from))
        .collect()
}

fn in_files(mut paths: Vec<PathBuf>) -> Result<Vec<Certificate>, Error> {
    paths.sort_unstable();
    let mut certificates = Vec::new();
    for path in paths {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("crt") => certificates.extend(in_file(&path)?),
            Some("cert" | "key") => {
                let reason = "showing a certificate to a registry is not supported";
                return Err(failed(&path, &reason));
            }
            _ => {}
        }
    }
    Ok(certificates)
}

/// All that are in one file: an authority, or several one behind the other.
fn in_file(path: &Path) -> Result<Vec<Certificate>, Error> {
    let text = fs::read(path).map_err(|error| failed(path, &error))?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .map(|found| {
            found.map(|found| Certificate {
                encoding: CertificateEncoding::Der,
                data: found.to_vec(),
            })
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(path, &error))?;
    match certificates.is_empty() {
        true => Err(failed(path, &"there is no certificate in it (PEM)")),
        false => Ok(certificates),
    }
}

/// One that this user may not look into is none that could be meant.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied
    )
}

fn failed(file: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::Certificates {
        file: file.to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_own_come_before_the_hosts() {
        let variables = |name: &str| (name == "HOME").then(|| "/home/u".into());
        let expected = [
            "/home/u/.config/containers/certs.d",
            "/etc/containers/certs.d",
            "/etc/docker/certs.d",
        ];
        assert_eq!(folders(variables), expected.map(PathBuf::from));
        let configured = |name: &str| (name == "XDG_CONFIG_HOME").then(|| "/c".into());
        assert_eq!(folders(configured)[0], Path::new("/c/containers/certs.d"));
        assert_eq!(folders(|_| None), OF_THE_HOST.map(PathBuf::from));
    }

    #[test]
    fn what_cannot_be_used_is_not_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let with = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            in_files(vec![path])
        };
        assert!(with("ca.crt", "no certificate").is_err());
        assert!(with("client.cert", "").is_err());
        assert!(with("client.key", "").is_err());
        assert!(with("README", "").unwrap().is_empty());
    }
}
