//! What the host's administrator has written down about containers.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use regex_automata::meta::Regex;
use serde::Deserialize;

use super::{ANNOTATION, Error, Image, LEARN};

/// The host's configuration.
pub const CONFIGURATION: &str = "/etc/ringfence/config.toml";
/// The host's own profiles.
pub const PROFILES: &str = "/etc/ringfence/profiles";

/// The part of the configuration that is about containers; without a file, what holds if nothing is said.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Host {
    /// The real runtime.
    pub runtime: Option<PathBuf>,
    /// The profile of containers that name none.
    pub profile: Option<String>,
    /// Whether containers may name a profile.
    pub annotations: bool,
    /// Whether images may name one by a label, for containers that name none.
    pub labels: bool,
    /// Whether containers that name no profile are refused.
    pub named_only: bool,
    /// What judges containers.
    pub engine: HostEngine,
    /// Profiles of containers that name none, by their image; the first that matches.
    #[serde(rename = "image")]
    pub images: Vec<ByImage>,
    /// The folder that profiles of containers go to that ask to be recorded; without one, nobody may ask.
    pub learn_in: Option<PathBuf>,
}

/// The profile of containers from some images.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByImage {
    /// The image's name as the engine has it, in which `*` stands for anything.
    pub name: String,
    /// The profile.
    pub profile: String,
}

/// What judges containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostEngine {
    /// BPF LSM where it can be had, else the fallback.
    #[default]
    Auto,
    /// BPF LSM or nothing.
    BpfLsm,
    /// Landlock, mounts and seccomp.
    Fallback,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            runtime: None,
            profile: None,
            annotations: true,
            labels: false,
            named_only: false,
            engine: HostEngine::default(),
            images: Vec::new(),
            learn_in: None,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Configuration {
    containers: Host,
}

impl Host {
    /// Reads [`CONFIGURATION`].
    ///
    /// # Errors
    /// If it is there and cannot be read, holds what is not known, or is not root's alone.
    pub fn read() -> Result<Self, Error> {
        Self::read_from(Path::new(CONFIGURATION))
    }

    /// The image of the container with this bundle and these annotations; one that nothing is known of where nothing depends on it.
    #[must_use]
    pub fn image_of(&self, bundle: &Path, annotations: &HashMap<String, String>) -> Image {
        match self.labels || !self.images.is_empty() {
            true => Image::of(bundle, annotations),
            false => Image::default(),
        }
    }

    /// The profile of containers of this image: by its name, else by its label if that may.
    ///
    /// # Errors
    /// If a pattern cannot be used.
    pub fn by_image<'a>(&'a self, image: &'a Image) -> Result<Option<&'a str>, Error> {
        let label = image.profile.as_deref().filter(|_| self.labels);
        let Some(name) = &image.name else {
            return Ok(label);
        };
        for one in &self.images {
            let pieces: Vec<_> = one.name.split('*').map(regex_syntax::escape).collect();
            let pattern = format!("^(?:{})$", pieces.join(".*"));
            let pattern =
                Regex::new(&pattern).map_err(|error| Error::content(CONFIGURATION, &error))?;
            if pattern.is_match(name.as_str()) {
                return Ok(Some(&one.profile));
            }
        }
        Ok(label)
    }

    /// The file that a container with these annotations asks its profile to be written to; `None` if it does not ask.
    ///
    /// # Errors
    /// If the host has no folder for it, the file is not in that, or the container names a profile as well.
    pub fn learned_file(
        &self,
        annotations: &HashMap<String, String>,
    ) -> Result<Option<PathBuf>, Error> {
        let Some(asked) = annotations.get(LEARN) else {
            return Ok(None);
        };
        let refused = |reason: String| Err(Error::Learn(reason));
        let Some(folder) = &self.learn_in else {
            return refused(format!(
                "a container that is recorded runs without a fence; `learn-in` in {CONFIGURATION} allows it, and says where \
                 profiles go"
            ));
        };
        if annotations.contains_key(ANNOTATION) {
            return refused(format!("it names a profile as well ({ANNOTATION})"));
        }
        let path = folder.join(asked);
        let is_in_it = path.parent() == Some(folder) && path.extension() == Some("toml".as_ref());
        if !is_in_it
            || path
                .file_name()
                .is_none_or(|name| path != folder.join(name))
        {
            return refused(format!(
                "{asked} is not a file in {} whose name ends in .toml",
                folder.display()
            ));
        }
        Ok(Some(path))
    }

    fn read_from(path: &Path) -> Result<Self, Error> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(Error::file("read", path))?,
        };
        belongs_to_root(path)?;
        let configuration: Configuration =
            toml::from_str(&text).map_err(|error| Error::content(path, &error))?;
        Ok(configuration.containers)
    }

    /// The host's own profile of this name, if there is one.
    ///
    /// # Errors
    /// If the name could lead elsewhere, or the file is not root's alone.
    pub fn profile_file(name: &str) -> Result<Option<PathBuf>, Error> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(Error::Name(name.to_owned()));
        }
        for ending in ["toml", "json"] {
            let path = Path::new(PROFILES).join(format!("{name}.{ending}"));
            if path.try_exists().map_err(Error::file("look at", &path))? {
                belongs_to_root(&path)?;
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

fn belongs_to_root(path: &Path) -> Result<(), Error> {
    let found = fs::metadata(path).map_err(Error::file("look at", path))?;
    if found.uid() != 0 || found.mode() & 0o022 != 0 {
        return Err(Error::Owner {
            path: path.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_refused() {
        let parsed: Result<Configuration, _> = toml::from_str("[containers]\nprofil = \"x\"\n");
        assert!(parsed.is_err());
        let parsed: Configuration =
            toml::from_str("[containers]\nprofile = \"x\"\nnamed-only = true\n").unwrap();
        assert_eq!(parsed.containers.profile.as_deref(), Some("x"));
        assert!(parsed.containers.named_only && parsed.containers.annotations);
    }

    #[test]
    fn the_first_pattern_that_matches_the_whole_name_of_an_image_counts() {
        let text = "[[containers.image]]\nname = \"docker.io/library/nginx:*\"\nprofile = \"web\"\n\
                    [[containers.image]]\nname = \"docker.io/*\"\nprofile = \"rest\"\n";
        let host = toml::from_str::<Configuration>(text).unwrap().containers;
        let of = |name: &str| {
            let image = Image {
                name: Some(name.to_owned()),
                profile: Some("label".to_owned()),
            };
            host.by_image(&image).unwrap().map(str::to_owned)
        };
        assert_eq!(of("docker.io/library/nginx:1.27").as_deref(), Some("web"));
        assert_eq!(of("docker.io/library/nginxx").as_deref(), Some("rest"));
        assert_eq!(of("evil.example/docker.io/library/nginx:1"), None);
        assert_eq!(host.by_image(&Image::default()).unwrap(), None);
    }

    #[test]
    fn a_label_counts_where_the_host_allows_it_and_less_than_a_name() {
        let text = "labels = true\n[[image]]\nname = \"web:*\"\nprofile = \"web\"\n";
        let host: Host = toml::from_str(text).unwrap();
        let image = |name: &str| Image {
            name: Some(name.to_owned()),
            profile: Some("label".to_owned()),
        };
        let (web, other) = (image("web:1"), image("other:1"));
        assert_eq!(host.by_image(&web).unwrap(), Some("web"));
        assert_eq!(host.by_image(&other).unwrap(), Some("label"));
        assert_eq!(Host::default().by_image(&other).unwrap(), None);
    }

    #[test]
    fn what_is_learned_goes_into_the_hosts_folder_alone() {
        let host = Host {
            learn_in: Some("/var/lib/learned".into()),
            ..Host::default()
        };
        let asked = |path: &str| HashMap::from([(LEARN.to_owned(), path.to_owned())]);
        let file = |path: &str| host.learned_file(&asked(path));
        let expected = Some(PathBuf::from("/var/lib/learned/ci.toml"));
        assert_eq!(file("ci.toml").unwrap(), expected);
        assert_eq!(file("/var/lib/learned/ci.toml").unwrap(), expected);
        for path in [
            "/etc/x.toml",
            "../x.toml",
            "a/b.toml",
            "ci",
            "/var/lib/learned/../x.toml",
            "",
        ] {
            assert!(file(path).is_err(), "{path}");
        }
        assert!(Host::default().learned_file(&asked("ci.toml")).is_err());
        let mut both = asked("ci.toml");
        both.insert(ANNOTATION.to_owned(), "web".to_owned());
        assert!(host.learned_file(&both).is_err());
        assert_eq!(host.learned_file(&HashMap::new()).unwrap(), None);
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        for name in ["", ".", "..", "../x", "a/b", ".hidden", "a b"] {
            assert!(Host::profile_file(name).is_err(), "{name}");
        }
    }
}
