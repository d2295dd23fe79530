//! Who asks: names and passwords that `podman login` and `docker login` have written down.

use std::{
    env, fs,
    io::{self, ErrorKind},
    path::PathBuf,
};

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use oci_client::secrets::RegistryAuth;

use super::{Address, Error};

/// The credentials for the registry at `address`, of the first file that has some; nobody's if none has.
pub(super) fn of(address: &Address) -> Result<RegistryAuth, Error> {
    let reference = &address.reference;
    // Docker's own registry goes by two names.
    let names = [reference.registry(), reference.resolve_registry()];
    for file in files(|name| env::var_os(name).filter(|value| !value.is_empty())) {
        let failed = |reason: String| Error::Credentials {
            file: file.clone(),
            reason,
        };
        let text = match fs::read(&file) {
            Err(error) if is_absent(&error) => continue,
            other => other.map_err(|error| failed(error.to_string()))?,
        };
        for name in names {
            if let Some(auth) = found(&text, name).map_err(failed)? {
                return Ok(auth);
            }
        }
    }
    Ok(RegistryAuth::Anonymous)
}

/// Where they may be: podman's files (containers-auth.json(5)), then docker's.
fn files(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Vec<PathBuf> {
    let path = |name| variable(name).map(PathBuf::from);
    if let Some(only) = path("REGISTRY_AUTH_FILE") {
        return vec![only];
    }
    let home = path("HOME");
    let at_home = |below: &str| home.as_ref().map(|home| home.join(below));
    let runtime = path("XDG_RUNTIME_DIR").unwrap_or_else(|| "/run/containers/0".into());
    let runtime = match runtime.ends_with("containers/0") {
        true => runtime.join("auth.json"),
        false => runtime.join("containers/auth.json"),
    };
    let configured = path("XDG_CONFIG_HOME").or_else(|| at_home(".config"));
    let docker = path("DOCKER_CONFIG").or_else(|| at_home(".docker"));
    [
        Some(runtime),
        configured.map(|folder| folder.join("containers/auth.json")),
        docker.map(|folder| folder.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One that this user may not look into is nobody's that could be meant.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied
    )
}

fn found(text: &[u8], registry: &str) -> Result<Option<RegistryAuth>, String> {
    match get_credential_from_reader(text, registry) {
        Ok(DockerCredential::UsernamePassword(name, password)) => {
            Ok(Some(RegistryAuth::Basic(name, password)))
        }
        Ok(DockerCredential::IdentityToken(_)) => Err(format!(
            "it holds an identity token for {registry}, which is not supported; log in with a name and a password"
        )),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(None),
        // The words of docker's own helpers for a registry that they do not know.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. })
            if stdout.contains("credentials not found") =>
        {
            Ok(None)
        }
        Err(CredentialRetrievalError::ConfigReadError) => Err("it is no such file".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podmans_files_come_before_dockers() {
        let variables = |name: &str| match name {
            "HOME" => Some("/home/u".into()),
            "XDG_RUNTIME_DIR" => Some("/run/user/7".into()),
            _ => None,
        };
        let expected = [
            "/run/user/7/containers/auth.json",
            "/home/u/.config/containers/auth.json",
            "/home/u/.docker/config.json",
        ];
        assert_eq!(files(variables), expected.map(PathBuf::from));
        let only = |name: &str| (name == "REGISTRY_AUTH_FILE").then(|| "/own".into());
        assert_eq!(files(only), [PathBuf::from("/own")]);
        assert_eq!(
            files(|_| None),
            [PathBuf::from("/run/containers/0/auth.json")]
        );
    }

    #[test]
    fn a_name_and_its_password_are_found_by_the_registry() {
        // user:password
        let text = br#"{"auths": {"example.org:5000": {"auth": "dXNlcjpwYXNzd29yZA=="}}}"#;
        let expected = RegistryAuth::Basic("user".to_owned(), "password".to_owned());
        assert_eq!(found(text, "example.org:5000"), Ok(Some(expected)));
        assert_eq!(found(text, "example.org"), Ok(None));
        assert_eq!(found(b"{}", "example.org"), Ok(None));
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        assert!(found(b"no json", "example.org").is_err());
        let token = br#"{"auths": {"example.org": {"identitytoken": "x"}}}"#;
        let error = found(token, "example.org").unwrap_err();
        assert!(error.contains("identity token"), "{error}");
    }
}
