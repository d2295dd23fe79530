//! Which image a container is made of, as far as its engine lets that be known.
//!
//! Engines of Kubernetes tell a runtime the image's name by annotation. podman tells nothing, but keeps the container in containers/storage, where a
//! bundle lies beside a list of containers and what their images say of themselves. What cannot be read there is not known:
//! the container gets the profile of one whose image nobody knows.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use serde::{Deserialize, de::DeserializeOwned};

use super::{ANNOTATION, digest::sha256};

/// Where engines write down an image's name: containerd and CRI-O, for Kubernetes.
const NAMES: [&str; 2] = [
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri-o.ImageName",
];
/// Bytes of a file of the engine's that are read.
const MOST_BYTES: u64 = 16 << 20;

/// An image, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Its name as the engine has it.
    pub name: Option<String>,
    /// The profile that its label names.
    pub profile: Option<String>,
}

/// One of `DRIVER-containers/containers.json`.
#[derive(Deserialize)]
struct Stored {
    id: String,
    #[serde(default)]
    image: String,
    /// JSON in a string.
    #[serde(default)]
    metadata: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(rename = "image-name")]
    image_name: String,
}

/// The configuration of an image (OCI image specification, config.md).
#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    config: Execution,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Execution {
    #[serde(rename = "Labels")]
    labels: Option<HashMap<String, String>>,
}

impl Image {
    /// Of the container with this bundle and these annotations.
    #[must_use]
    pub(super) fn of(bundle: &Path, annotations: &HashMap<String, String>) -> Self {
        let told = NAMES.iter().find_map(|name| annotations.get(*name));
        let mut image = Self::stored(bundle).unwrap_or_default();
        if let Some(told) = told {
            image.name = Some(told.clone());
        }
        image
    }

    /// By containers/storage, where a bundle is `DRIVER-containers/ID/userdata`.
    fn stored(bundle: &Path) -> Option<Self> {
        let own = bundle.ends_with("userdata").then(|| bundle.parent())??;
        let containers = own.parent()?;
        let driver = containers.file_name()?.to_str()?;
        let driver = driver.strip_suffix("-containers")?;
        let listed: Vec<Stored> = read(&containers.join("containers.json"))?;
        let id = own.file_name()?.to_str()?;
        let stored = listed.into_iter().find(|one| one.id == id)?;
        let metadata: Metadata = serde_json::from_str(&stored.metadata).unwrap_or_default();
        let place = containers.with_file_name(format!("{driver}-images"));
        let labels = labels(&place, &stored.image).unwrap_or_default();
        Some(Self {
            name: Some(metadata.image_name).filter(|name| !name.is_empty()),
            profile: labels.get(ANNOTATION).cloned(),
        })
    }
}

/// What the image `id` in `place` says of itself: in the one file of its folder whose digest is its id, whatever that is called.
fn labels(place: &Path, id: &str) -> Option<HashMap<String, String>> {
    let plain = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !plain {
        return None;
    }
    let mut paths = fs::read_dir(place.join(id)).ok()?.flatten();
    let found = paths.find_map(|entry| {
        let text = bytes(&entry.path())?;
        (sha256(&text) == id).then_some(text)
    })?;
    let configuration: Configuration = serde_json::from_slice(&found).ok()?;
    configuration.config.labels
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&bytes(path)?).ok()
}

/// Of a file that is the superuser's alone: others could give a container another image.
fn bytes(path: &Path) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
    let found = file.metadata().ok()?;
    let is_ours = found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o022 == 0;
    if !found.is_file() || !is_ours || found.len() > MOST_BYTES {
        return None;
    }
    let mut text = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

    const CONFIGURATION: &str =
        r#"{"architecture":"amd64","config":{"Labels":{"dev.ringfence.profile":"web","x":"y"}}}"#;

    /// A store with one container, whose image's configuration is `text` under the id of `named`.
    fn store(named: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let id = sha256(named.as_bytes());
        let bundle = folder.path().join("overlay-containers/c1/userdata");
        let image = folder.path().join("overlay-images").join(&id);
        for one in [&bundle, &image] {
            fs::create_dir_all(one).unwrap();
        }
        fs::write(image.join("manifest"), "{}").unwrap();
        fs::write(image.join("=c2hhMjU2"), text).unwrap();
        let list = format!(
            r#"[{{"id":"c0"}},{{"id":"c1","image":"{id}","metadata":"{{\"image-name\":\"localhost/web:1\"}}"}}]"#
        );
        let listed = folder.path().join("overlay-containers/containers.json");
        fs::write(&listed, list).unwrap();
        (folder, bundle)
    }

    #[test]
    fn podmans_storage_tells_an_images_name_and_its_label() {
        let (_folder, bundle) = store(CONFIGURATION, CONFIGURATION);
        let image = Image::of(&bundle, &HashMap::new());
        assert_eq!(image.name.as_deref(), Some("localhost/web:1"));
        assert_eq!(image.profile.as_deref(), Some("web"));
        let annotations = HashMap::from([(NAMES[0].to_owned(), "told".to_owned())]);
        let told = Image::of(&bundle, &annotations);
        assert_eq!(told.name.as_deref(), Some("told"));
    }

    #[test]
    fn what_is_not_the_image_has_no_say() {
        let (_folder, bundle) = store("another", CONFIGURATION);
        assert_eq!(Image::of(&bundle, &HashMap::new()).profile, None);
        let (folder, bundle) = store(CONFIGURATION, CONFIGURATION);
        let listed = folder.path().join("overlay-containers/containers.json");
        fs::set_permissions(&listed, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(Image::of(&bundle, &HashMap::new()), Image::default());
    }

    #[test]
    fn another_bundle_has_no_image_that_is_known() {
        let folder = tempfile::tempdir().unwrap();
        for place in ["", "userdata", "x-containers/c1/userdata"] {
            let bundle = folder.path().join(place);
            assert_eq!(Image::of(&bundle, &HashMap::new()), Image::default());
        }
    }
}
