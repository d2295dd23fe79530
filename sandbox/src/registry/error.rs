//! What can go wrong between a profile and a registry. Nothing has been pulled then.

use std::path::PathBuf;

use oci_client::errors::{OciDistributionError, OciErrorCode};

/// A step of the registry room that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No address of a profile.
    #[error(
        "`{text}` is no address of a profile: {reason}; write it as in registry.example.org/profiles/web:1"
    )]
    Address {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file with credentials that cannot be used.
    #[error("the credentials in {file} cannot be used: {reason}")]
    Credentials {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Certificates that cannot be used.
    #[error("the certificates in {file} cannot be used: {reason}")]
    Certificates {
        /// The file, or the folder.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// What talks to registries could not be set up.
    #[error(
        "nothing can be asked of a registry here: {0}; is there a package with certificates (ca-certificates)?"
    )]
    Client(String),
    /// A registry did not do what it was asked.
    #[error("cannot {what} {address}: {reason}{hint}")]
    Request {
        /// What was asked.
        what: &'static str,
        /// The profile's address.
        address: String,
        /// What the registry, or the way there, said.
        reason: String,
        /// The way out, behind a semicolon; empty if none is known.
        hint: String,
    },
    /// A registry took too long.
    #[error("cannot {what} {address}: it took more than {seconds} seconds")]
    Time {
        /// What was asked.
        what: &'static str,
        /// The profile's address.
        address: String,
        /// The limit.
        seconds: u64,
    },
    /// What is at an address is no profile.
    #[error("{address} is no profile of ringfence's: {reason}")]
    NoProfile {
        /// The address.
        address: String,
        /// Why not.
        reason: String,
    },
    /// A registry gave something else than what was named.
    #[error(
        "{address} is not what its digest says: expected {expected}, got {found}; nothing is kept of it"
    )]
    Digest {
        /// The address.
        address: String,
        /// The digest that was asked for.
        expected: String,
        /// The digest of what came.
        found: String,
    },
}

impl Error {
    pub(super) fn request(
        what: &'static str,
        address: &super::Address,
    ) -> impl FnOnce(OciDistributionError) -> Self {
        let (address, registry) = (address.to_string(), address.registry().to_owned());
        move |error| Self::Request {
            what,
            hint: hint(&error, &registry)
                .map(|hint| format!("; {hint}"))
                .unwrap_or_default(),
            reason: reason(&error),
            address,
        }
    }
}

/// What the registry has said in its own words, or what went wrong on the way there.
fn reason(error: &OciDistributionError) -> String {
    let OciDistributionError::RegistryError { envelope, .. } = error else {
        return chain(error);
    };
    let said = envelope
        .errors
        .iter()
        .map(|error| match &error.message[..] {
            "" => format!("{:?}", error.code),
            message => message.to_owned(),
        });
    let said: Vec<String> = said.collect();
    format!("the registry says: {}", said.join("; "))
}

fn hint(error: &OciDistributionError, registry: &str) -> Option<String> {
    use OciDistributionError as E;
    let log_in = || {
        Some(format!(
            "`podman login {registry}` keeps a name and a password"
        ))
    };
    match error {
        E::UnauthorizedError { .. } | E::AuthenticationFailure(_) => log_in(),
        E::ServerError {
            code: 401 | 403, ..
        } => log_in(),
        E::RegistryError { envelope, .. } => {
            let has = |code| envelope.errors.iter().any(|error| error.code == code);
            if has(OciErrorCode::Unauthorized) || has(OciErrorCode::Denied) {
                return log_in();
            }
            let unknown = has(OciErrorCode::ManifestUnknown) || has(OciErrorCode::NameUnknown);
            unknown.then(|| "is the name right, and the tag?".to_owned())
        }
        E::RequestError(error) if has_unknown_certificate(error) => Some(format!(
            "the certificate of who vouches for it goes into /etc/containers/certs.d/{registry}/ca.crt, or into the file that \
             SSL_CERT_FILE names"
        )),
        E::RequestError(error) if error.is_connect() => {
            Some("is it there? A registry without TLS takes --plain-http".to_owned())
        }
        E::ServerError {
            code: 400, message, ..
        } if message.contains("HTTPS") => Some(format!(
            "it speaks TLS; on loopback that is tried where there is a folder /etc/containers/certs.d/{registry}"
        )),
        _ => None,
    }
}

/// Whether the registry has shown a certificate that nobody here vouches for.
fn has_unknown_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return true;
        }
        // An error of input or output gives what is behind the one that it holds.
        let inner = error.downcast_ref::<std::io::Error>();
        let inner = inner.and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

/// An error with what is behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        // Some say what is behind them themselves.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_client::errors::{OciEnvelope, OciError};

    #[test]
    fn a_registry_is_heard_in_its_own_words() {
        let said = |code, message: &str| {
            let error = OciError {
                code,
                message: message.to_owned(),
                detail: serde_json::Value::Null,
            };
            reason(&OciDistributionError::RegistryError {
                envelope: OciEnvelope {
                    errors: vec![error],
                },
                url: "http://127.0.0.1/v2".to_owned(),
            })
        };
        let unknown = said(OciErrorCode::ManifestUnknown, "manifest unknown");
        assert_eq!(unknown, "the registry says: manifest unknown");
        let silent = said(OciErrorCode::Denied, "");
        assert_eq!(silent, "the registry says: Denied");
    }
}
