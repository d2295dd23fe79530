//! Registries that lie: whatever one answers, what is kept is a profile and what its digest says, or nothing is.

#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Output},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

const PROFILE: &str = "version = 1\nname = \"web\"\n\n[files]\nread = [\"/srv/**\"]\n";
/// `printf 'version = 1\nname = "web"\n\n[files]\nread = ["/srv/**"]\n' | sha256sum`
const DIGEST: &str = "sha256:214a7c245813d62c29eb3c8ddca9fd3d8ecd51d2f101d84b6fe8f86f886e131e";
const ARTIFACT: &str = "application/vnd.ringfence.profile.v1";

/// Answers by path, and the paths that were asked for.
struct Registry {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    fn with(manifest: &Value, blob: &str) -> Self {
        let answers = HashMap::from([
            ("/v2/".to_owned(), String::new()),
            ("/v2/web/manifests/1".to_owned(), manifest.to_string()),
            (format!("/v2/web/manifests/{DIGEST}"), manifest.to_string()),
            (format!("/v2/web/blobs/{DIGEST}"), blob.to_owned()),
        ]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&asked);
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(&stream.unwrap(), &answers, &told);
            }
        });
        Self { port, asked }
    }

    /// A pull of the tag, or of what stands behind `name`.
    fn pull(&self, name: &str) -> (Output, TempDir) {
        let folder = TempDir::new().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .args(["profile", "pull", "--output", "kept.toml"])
            .arg(format!("127.0.0.1:{}/{name}", self.port))
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .env_remove("REGISTRY_AUTH_FILE")
            .env_remove("http_proxy")
            .output()
            .unwrap();
        (output, folder)
    }

    #[track_caller]
    fn refuses(&self, name: &str, reason: &str) {
        let (output, folder) = self.pull(name);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{err}");
        assert!(err.contains(reason), "no {reason:?} in {err}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{err}");
    }
}

fn answer(stream: &TcpStream, answers: &HashMap<String, String>, told: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap().unwrap();
    for line in lines.by_ref() {
        if line.unwrap().is_empty() {
            break;
        }
    }
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let (status, body) = match answers.get(&path) {
        Some(body) => ("200 OK", body.as_str()),
        None => (
            "404 Not Found",
            "{\"errors\": [{\"code\": \"MANIFEST_UNKNOWN\"}]}",
        ),
    };
    told.lock().unwrap().push(path);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = stream;
    // Who has heard enough hangs up.
    stream.write_all(head.as_bytes()).ok();
}

fn manifest() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": ARTIFACT,
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": DIGEST, "size": 2 },
        "layers": [{
            "mediaType": "application/vnd.ringfence.profile.v1+toml",
            "digest": DIGEST,
            "size": PROFILE.len(),
        }],
    })
}

#[test]
fn a_profile_is_kept_as_it_is() {
    let (output, folder) = Registry::with(&manifest(), PROFILE).pull("web:1");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    assert_eq!(
        fs::read_to_string(folder.path().join("kept.toml")).unwrap(),
        PROFILE
    );
    assert!(err.contains("/web@sha256:"), "{err}");
}

#[test]
fn other_bytes_of_the_same_length_are_refused() {
    let other = PROFILE.replace("/srv/**", "/etc/**");
    Registry::with(&manifest(), &other).refuses("web:1", "digest");
}

#[test]
fn more_bytes_than_were_said_are_refused() {
    let longer = format!("{PROFILE}# and more\n");
    Registry::with(&manifest(), &longer).refuses("web:1", "web:1");
}

#[test]
fn a_manifest_that_is_not_what_was_pinned_is_refused() {
    // The manifest is there under this digest, and is another.
    Registry::with(&manifest(), PROFILE).refuses(&format!("web@{DIGEST}"), "igest");
}

#[test]
fn what_is_too_large_is_not_asked_for() {
    let mut large = manifest();
    large["layers"][0]["size"] = json!(1_u64 << 40);
    let registry = Registry::with(&large, PROFILE);
    registry.refuses("web:1", "at most");
    let asked = registry.asked.lock().unwrap();
    assert!(
        asked.iter().all(|path| !path.contains("blobs")),
        "{asked:?}"
    );
}

#[test]
fn an_image_is_no_profile() {
    let mut image = manifest();
    image["artifactType"] = Value::Null;
    image["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
    Registry::with(&image, PROFILE).refuses("web:1", "image.config");
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [],
    });
    Registry::with(&index, PROFILE).refuses("web:1", "no profile");
}

#[test]
fn places_that_a_manifest_names_besides_are_not_asked() {
    let elsewhere = Registry::with(&manifest(), PROFILE);
    let mut named = manifest();
    named["layers"][0]["urls"] = json!([format!(
        "http://127.0.0.1:{}/v2/web/blobs/{DIGEST}",
        elsewhere.port
    )]);
    let registry = Registry::with(&named, PROFILE);
    assert!(registry.pull("web:1").0.status.success());
    assert_eq!(*elsewhere.asked.lock().unwrap(), Vec::<String>::new());
}

#[test]
fn what_is_not_there_is_said_with_the_way_out() {
    let registry = Registry::with(&manifest(), PROFILE);
    registry.refuses("web:2", "is the name right");
    registry.refuses("other:1", "is the name right");
}

/// Before anything is asked of a registry.
#[test]
fn what_would_mean_something_else_elsewhere_is_not_pushed() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("base.toml"), "version = 1\n[files]\n").unwrap();
    for (extended, complaint) in [
        ("extends = [\"./base.toml\"]", "is a file"),
        (
            "[[program]]\npath = \"/bin/x\"\nextends = [\"./base.toml\"]",
            "is a file",
        ),
        ("extends = [\"nosuch\"]", "no shipped profile"),
        ("[files]\nraed = []", "raed"),
    ] {
        let text = format!("version = 1\n{extended}\n");
        fs::write(folder.path().join("p.toml"), text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .args(["profile", "push", "p.toml", "127.0.0.1:1/web:1"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{err}");
        assert!(err.contains(complaint), "no {complaint:?} in {err}");
    }
}
