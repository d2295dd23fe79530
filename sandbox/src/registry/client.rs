//! Pushing and pulling, by oci-client in a runtime that lives as long as one call.

use std::{future::Future, time::Duration};

use futures_util::StreamExt as _;
use http::HeaderValue;
use oci_client::{
    Client,
    client::{ClientConfig, ClientProtocol},
    manifest::OCI_IMAGE_MEDIA_TYPE,
    secrets::RegistryAuth,
};

use super::{
    Address, Artifact, Error, Language,
    artifact::{self, digest_of},
    certificates, credentials,
};

/// Until a registry has answered.
const PATIENCE: Duration = Duration::from_secs(20);
/// Until all of it is done: a profile is small.
const WHOLE: Duration = Duration::from_secs(120);

/// A profile that was pulled.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// Its bytes.
    pub text: Vec<u8>,
    /// What they are said to be written in.
    pub language: Language,
    /// The digest that pins it.
    pub digest: String,
}

/// Puts a profile there; gives the digest that pins it.
///
/// # Errors
/// If the registry does not take it.
pub fn push(address: &Address, artifact: &Artifact) -> Result<String, Error> {
    const WHAT: &str = "push";
    call(WHAT, address, |client, auth| async move {
        let reference = &address.reference;
        let failed = || Error::request(WHAT, address);
        client
            .store_auth_if_needed(reference.resolve_registry(), &auth)
            .await;
        for blob in artifact.blobs() {
            client
                .push_blob(reference, blob.to_vec(), &digest_of(blob))
                .await
                .map_err(failed())?;
        }
        let manifest = serde_json::to_vec(&artifact.manifest())
            .map_err(|error| failed()(oci_client::errors::OciDistributionError::from(error)))?;
        let digest = digest_of(&manifest);
        client
            .push_manifest_raw(
                reference,
                manifest,
                HeaderValue::from_static(OCI_IMAGE_MEDIA_TYPE),
            )
            .await
            .map_err(failed())?;
        let kept = client
            .fetch_manifest_digest(reference, &auth)
            .await
            .map_err(failed())?;
        same(address, digest, kept)
    })
}

/// Gets the profile that is there.
///
/// # Errors
/// If there is none, it is too large, or is not what its digest says.
pub fn pull(address: &Address) -> Result<Pulled, Error> {
    const WHAT: &str = "pull";
    call(WHAT, address, |client, auth| async move {
        let reference = &address.reference;
        let failed = || Error::request(WHAT, address);
        let (manifest, _) = client
            .pull_manifest_raw(reference, &auth, &[OCI_IMAGE_MEDIA_TYPE])
            .await
            .map_err(failed())?;
        let mut digest = digest_of(&manifest);
        if let Some(asked) = address.digest() {
            digest = same(address, asked.to_owned(), digest)?;
        }
        let no_profile = |reason| Error::NoProfile {
            address: address.to_string(),
            reason,
        };
        let layer = artifact::layer(&manifest).map_err(no_profile)?;
        // By its digest alone: a manifest may name other places as well, and nobody has asked for those.
        let mut stream = client
            .pull_blob_stream(reference, layer.digest.as_str())
            .await
            .map_err(failed())?
            .stream;
        let mut text = Vec::new();
        while let Some(part) = stream.next().await {
            text.extend_from_slice(&part.map_err(|error| failed()(error.into()))?);
            if text.len() as u64 > layer.bytes {
                let reason = format!(
                    "it is longer than the {} bytes it is said to be",
                    layer.bytes
                );
                return Err(no_profile(reason));
            }
        }
        same(address, layer.digest, digest_of(&text))?;
        Ok(Pulled {
            text,
            language: layer.language,
            digest,
        })
    })
}

fn same(address: &Address, expected: String, found: String) -> Result<String, Error> {
    match expected == found {
        true => Ok(found),
        false => Err(Error::Digest {
            address: address.to_string(),
            expected,
            found,
        }),
    }
}

/// Runs one conversation with a registry to its end, in this thread.
fn call<'a, T, F>(
    what: &'static str,
    address: &'a Address,
    conversation: impl FnOnce(Client, RegistryAuth) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>> + 'a,
{
    let auth = credentials::of(address)?;
    let certificates = certificates::of(address)?;
    let unable = |error: &dyn std::error::Error| Error::Client(error.to_string());
    // One that is there already is as good.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| unable(&error))?;
    runtime.block_on(async {
        let configuration = ClientConfig {
            protocol: match address.is_plain(certificates.is_some()) {
                true => ClientProtocol::Http,
                false => ClientProtocol::Https,
            },
            extra_root_certificates: certificates.unwrap_or_default(),
            // No other artifact is looked for behind this one.
            platform_resolver: None,
            connect_timeout: Some(PATIENCE),
            read_timeout: Some(PATIENCE),
            user_agent: concat!("ringfence/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(configuration).map_err(|error| unable(&error))?;
        let done = tokio::time::timeout(WHOLE, conversation(client, auth)).await;
        done.map_err(|_| Error::Time {
            what,
            address: address.to_string(),
            seconds: WHOLE.as_secs(),
        })?
    })
}
