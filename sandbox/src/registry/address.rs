//! Where a profile is: a registry, a name in it, and a tag or a digest.

use std::net::IpAddr;

use oci_client::Reference;

use super::Error;

/// The only digests that pin a profile.
const SHA256: &str = "sha256:";

/// The address of a profile.
#[derive(Clone, Debug)]
pub struct Address {
    pub(super) reference: Reference,
    plain_http: bool,
    is_loopback: bool,
}

impl Address {
    /// Reads `REGISTRY/NAME[:TAG|@sha256:...]`. TLS is left out where that is asked for.
    ///
    /// # Errors
    /// If it is no address, or names no registry: none is meant where none is said.
    pub fn parse(text: &str, plain_http: bool) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Address {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        let host = text.split_once('/').map_or("", |(host, _)| host);
        if !(host == "localhost" || host.contains(['.', ':'])) {
            return Err(wrong("it names no registry"));
        }
        let reference: Reference = text
            .parse()
            .map_err(|error: oci_client::ParseError| wrong(&error.to_string()))?;
        if reference
            .digest()
            .is_some_and(|digest| !digest.starts_with(SHA256))
        {
            return Err(wrong("a profile is pinned by its sha256 digest"));
        }
        Ok(Self {
            plain_http,
            is_loopback: is_loopback(host),
            reference,
        })
    }

    /// Whether TLS is left out: where that is asked for, and on loopback unless there are certificates for the registry.
    #[must_use]
    pub(super) fn is_plain(&self, has_certificates: bool) -> bool {
        self.plain_http || (self.is_loopback && !has_certificates)
    }

    /// The registry's host, with its port.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.reference.registry()
    }

    /// The digest that is asked for, if one is.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.reference.digest()
    }

    /// The tag, if no digest is asked for.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        match self.digest() {
            Some(_) => None,
            None => self.reference.tag(),
        }
    }

    /// The address of what has this digest, whatever becomes of tags.
    #[must_use]
    pub fn pinned(&self, digest: &str) -> String {
        let (registry, repository) = (self.reference.registry(), self.reference.repository());
        format!("{registry}/{repository}@{digest}")
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.reference.fmt(formatter)
    }
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost"
        || name
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parsed(text: &str) -> Address {
        Address::parse(text, false).unwrap()
    }

    #[test]
    fn a_registry_is_never_guessed() {
        for text in ["web", "web:1", "profiles/web:1", "", "/web:1"] {
            let error = Address::parse(text, false).unwrap_err().to_string();
            assert!(error.contains("names no registry"), "{text}: {error}");
        }
        assert_eq!(parsed("localhost/web:1").registry(), "localhost");
        assert_eq!(parsed("example.org/a/web:1").registry(), "example.org");
    }

    #[test]
    fn plain_http_is_for_loopback_or_on_request() {
        for text in [
            "localhost:5000/web:1",
            "127.0.0.1:5000/web:1",
            "127.9.9.9:1/web:1",
        ] {
            assert!(parsed(text).is_plain(false), "{text}");
            assert!(!parsed(text).is_plain(true), "{text}");
        }
        for text in [
            "example.org/web:1",
            "localhost.example.org/web:1",
            "10.0.0.1:5000/web:1",
        ] {
            assert!(!parsed(text).is_plain(false), "{text}");
            assert!(Address::parse(text, true).unwrap().is_plain(true), "{text}");
        }
    }

    #[test]
    fn a_digest_counts_more_than_a_tag() {
        let pinned = parsed(&format!("example.org/web:1@{DIGEST}"));
        assert_eq!((pinned.tag(), pinned.digest()), (None, Some(DIGEST)));
        assert_eq!(pinned.pinned(DIGEST), format!("example.org/web@{DIGEST}"));
        assert_eq!(parsed("example.org/web").tag(), Some("latest"));
        let sha512 = format!("example.org/web@sha512:{}", "a".repeat(128));
        assert!(Address::parse(&sha512, false).is_err());
    }
}
