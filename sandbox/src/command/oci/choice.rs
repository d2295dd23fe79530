//! Which profile a container gets.

use std::{collections::HashMap, ffi::OsString};

use crate::{
    command::Failure,
    oci::{ANNOTATION, CONFIGURATION, Host, Image, PROFILES},
    profile::shipped,
};

/// A profile by name: the host's own or a shipped one, never a file of the container's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// For [`crate::profile::load`]; empty if nobody has named one.
    pub(super) profiles: Vec<OsString>,
    /// Its name.
    pub(super) name: String,
}

/// The profile of a container of `image` with `annotations`: the one that it names, else that of its image, else `given` by who set the
/// runtime up, else the host's default, else the one that always applies when none is named.
pub(super) fn choose(
    host: &Host,
    annotations: &HashMap<String, String>,
    image: &Image,
    given: Option<&str>,
) -> Result<Choice, Failure> {
    let named = annotations.get(ANNOTATION).map(String::as_str);
    if named.is_some() && !host.annotations {
        return Err(Failure::Argument(format!(
            "the container names a profile ({ANNOTATION}), and {CONFIGURATION} says that containers may not"
        )));
    }
    let by_image = host.by_image(image)?;
    if named.or(by_image).is_none() && host.named_only {
        return Err(Failure::Argument(format!(
            "the container names no profile ({ANNOTATION}), nor does its image have one, and {CONFIGURATION} says that all have to"
        )));
    }
    match named.or(by_image).or(given).or(host.profile.as_deref()) {
        Some(name) => Ok(Choice {
            profiles: vec![match Host::profile_file(name)? {
                Some(file) => file.into_os_string(),
                None if shipped::find(name).is_some() => name.into(),
                None => {
                    return Err(Failure::Argument(format!(
                        "no profile is called `{name}`: there is no {PROFILES}/{name}.toml, and none of that name is shipped"
                    )));
                }
            }],
            name: name.to_owned(),
        }),
        None => Ok(Choice {
            profiles: Vec::new(),
            name: shipped::DEFAULT.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(name: &str) -> HashMap<String, String> {
        HashMap::from([(ANNOTATION.to_owned(), name.to_owned())])
    }

    #[test]
    fn the_container_decides_before_the_runtime_before_the_host() {
        let host = Host {
            profile: Some("shell".to_owned()),
            ..Host::default()
        };
        let name = |annotations: &HashMap<_, _>, given| {
            choose(&host, annotations, &Image::default(), given)
                .unwrap()
                .name
        };
        assert_eq!(name(&annotated("git"), Some("python")), "git");
        assert_eq!(name(&HashMap::new(), Some("python")), "python");
        assert_eq!(name(&HashMap::new(), None), "shell");
        let nobody = choose(&Host::default(), &HashMap::new(), &Image::default(), None).unwrap();
        assert_eq!(
            (nobody.name.as_str(), nobody.profiles.len()),
            ("untrusted", 0)
        );
    }

    #[test]
    fn a_container_cannot_name_a_file() {
        for name in ["/tmp/own.toml", "../own.toml", "own/x"] {
            assert!(
                choose(&Host::default(), &annotated(name), &Image::default(), None).is_err(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_name_that_nobody_has_is_told_with_the_place_for_its_file() {
        let told = |name| {
            let chosen = choose(&Host::default(), &annotated(name), &Image::default(), None);
            chosen.unwrap_err().to_string()
        };
        let nobody = told("ringfence-no-such");
        assert!(
            nobody.contains("/etc/ringfence/profiles/ringfence-no-such.toml"),
            "{nobody}"
        );
        let path = told("./own.toml");
        assert!(
            path.contains("\"./own.toml\" is no name of a profile"),
            "{path}"
        );
    }

    #[test]
    fn an_image_decides_after_the_container_and_before_the_runtime() {
        let host = Host {
            named_only: true,
            images: vec![crate::oci::ByImage {
                name: "*/web:*".to_owned(),
                profile: "python".to_owned(),
            }],
            ..Host::default()
        };
        let image = |name: &str| Image {
            name: Some(name.to_owned()),
            profile: None,
        };
        let (web, other) = (image("example.org/web:1"), image("example.org/other:1"));
        let chosen = |annotations: &HashMap<_, _>, image, given| {
            choose(&host, annotations, image, given).map(|choice| choice.name)
        };
        assert_eq!(
            chosen(&HashMap::new(), &web, Some("git")).unwrap(),
            "python"
        );
        assert_eq!(chosen(&annotated("shell"), &web, None).unwrap(), "shell");
        assert!(chosen(&HashMap::new(), &other, Some("git")).is_err());
    }

    #[test]
    fn the_host_may_insist() {
        let host = Host {
            annotations: false,
            ..Host::default()
        };
        assert!(choose(&host, &annotated("git"), &Image::default(), None).is_err());
        let host = Host {
            named_only: true,
            ..Host::default()
        };
        assert!(choose(&host, &HashMap::new(), &Image::default(), Some("git")).is_err());
    }
}
