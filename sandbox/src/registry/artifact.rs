//! A profile as a registry keeps it: a manifest that says what it is, an empty configuration, and the profile's bytes as the
//! only layer (OCI image specification 1.1, manifest.md, "Guidelines for Artifact Usage").

use std::collections::BTreeMap;

use oci_client::{
    client::ImageLayer,
    manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest},
};

use crate::profile::MAX_BYTES;

/// The type of the artifact.
const ARTIFACT: &str = "application/vnd.ringfence.profile.v1";
/// The type of a configuration that says nothing, and its only content.
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");
/// The annotation that gives a layer's name as a file.
const TITLE: &str = "org.opencontainers.image.title";
/// Most bytes of a manifest.
pub(super) const MANIFEST_BYTES: usize = 1 << 20;

/// What a profile is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// TOML.
    Toml,
    /// JSON.
    Json,
}

/// A profile, as it is pushed.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Its bytes.
    pub text: Vec<u8>,
    /// What they are written in.
    pub language: Language,
    /// The name of its file.
    pub file: String,
}

/// The one layer of an artifact.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) digest: String,
    pub(super) bytes: u64,
    pub(super) language: Language,
}

impl Language {
    fn media_type(self) -> &'static str {
        match self {
            Self::Toml => "application/vnd.ringfence.profile.v1+toml",
            Self::Json => "application/vnd.ringfence.profile.v1+json",
        }
    }

    /// The ending of files in it.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Toml => "toml",
            Self::Json => "json",
        }
    }
}

impl Artifact {
    /// The same profile has the same manifest, and so the same digest, whoever pushes it and when.
    pub(super) fn manifest(&self) -> OciImageManifest {
        let title = BTreeMap::from([(TITLE.to_owned(), self.file.clone())]);
        OciImageManifest {
            media_type: Some(OCI_IMAGE_MEDIA_TYPE.to_owned()),
            artifact_type: Some(ARTIFACT.to_owned()),
            config: descriptor(EMPTY.0, EMPTY.1, None),
            layers: vec![descriptor(
                self.language.media_type(),
                &self.text,
                Some(title),
            )],
            ..OciImageManifest::default()
        }
    }

    /// The blobs that the manifest names.
    pub(super) fn blobs(&self) -> [&[u8]; 2] {
        [EMPTY.1, &self.text]
    }
}

/// Where the profile is that `manifest` is about, or why it is about none.
pub(super) fn layer(manifest: &[u8]) -> Result<Layer, String> {
    if manifest.len() > MANIFEST_BYTES {
        return Err(format!("its manifest has more than {MANIFEST_BYTES} bytes"));
    }
    let manifest: OciImageManifest =
        serde_json::from_slice(manifest).map_err(|error| format!("its manifest: {error}"))?;
    if manifest.artifact_type.as_deref() != Some(ARTIFACT) {
        let kind = manifest.artifact_type.unwrap_or(manifest.config.media_type);
        return Err(format!("it is of the type `{kind}`, not `{ARTIFACT}`"));
    }
    let [layer] = manifest.layers.as_slice() else {
        return Err(format!("it has {} layers, not one", manifest.layers.len()));
    };
    let language = [Language::Toml, Language::Json]
        .into_iter()
        .find(|language| language.media_type() == layer.media_type)
        .ok_or_else(|| format!("its layer is of the type `{}`", layer.media_type))?;
    let bytes = u64::try_from(layer.size).map_err(|_| "its size is negative".to_owned())?;
    if bytes > MAX_BYTES {
        return Err(format!(
            "it has {bytes} bytes, and a profile has {MAX_BYTES} at most"
        ));
    }
    Ok(Layer {
        digest: layer.digest.clone(),
        bytes,
        language,
    })
}

/// The sha256 digest of some bytes, as registries write it.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    ImageLayer::new(bytes.to_vec(), String::new(), None).sha256_digest()
}

fn descriptor(
    media_type: &str,
    bytes: &[u8],
    annotations: Option<BTreeMap<String, String>>,
) -> OciDescriptor {
    OciDescriptor {
        media_type: media_type.to_owned(),
        digest: digest_of(bytes),
        // A profile's size is bounded long before.
        size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        annotations,
        ..OciDescriptor::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact() -> Artifact {
        Artifact {
            text: b"version = 1\n".to_vec(),
            language: Language::Toml,
            file: "web.toml".to_owned(),
        }
    }

    fn written(change: impl FnOnce(&mut OciImageManifest)) -> Vec<u8> {
        let mut manifest = artifact().manifest();
        change(&mut manifest);
        serde_json::to_vec(&manifest).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let layer = layer(&written(|_| {})).unwrap();
        assert_eq!((layer.bytes, layer.language), (12, Language::Toml));
        assert_eq!(layer.digest, digest_of(b"version = 1\n"));
        assert_eq!(written(|_| {}), written(|_| {}));
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        let refused = |text: Vec<u8>, reason: &str| {
            let error = layer(&text).unwrap_err();
            assert!(error.contains(reason), "{error}");
        };
        refused(written(|it| it.artifact_type = None), "not `application");
        refused(
            written(|it| it.artifact_type = Some("application/x".to_owned())),
            "application/x",
        );
        refused(written(|it| it.layers.clear()), "0 layers");
        refused(
            written(|it| it.layers.push(it.layers[0].clone())),
            "2 layers",
        );
        refused(
            written(|it| it.layers[0].media_type = "application/x-tar".to_owned()),
            "x-tar",
        );
        refused(written(|it| it.layers[0].size = -1), "negative");
        let more = i64::try_from(MAX_BYTES).unwrap() + 1;
        refused(written(|it| it.layers[0].size = more), "at most");
        refused(vec![b' '; MANIFEST_BYTES + 1], "more than");
        refused(b"{}".to_vec(), "manifest");
    }
}
