//! Profiles in a registry of container images: the distribution's own, on loopback, with storage that is gone afterwards.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use libtest_mimic::Failed;

use crate::kit::{Finished, Folder, Need, Ringfence, Suite, Verdict};
use crate::oci::Bundle;

const NEEDS: &[Need] = &[
    Need::Program("docker-registry"),
    // It is alike on every kernel.
    Need::Processor,
];
const CERTIFIED: &[Need] = &[
    Need::Program("docker-registry"),
    Need::Program("openssl"),
    Need::Processor,
];
const CONTAINER: &[Need] = &[
    Need::Program("docker-registry"),
    Need::Processor,
    Need::Root,
    Need::Landlock,
    Need::Cgroup,
    Need::Program("runc"),
    Need::Program("busybox"),
];

const PROFILE: &str = "#: in 1 of 1 runs: 5f2c19aa (12)\nversion = 1\nextends = [\"untrusted\"]\n";
const OTHER: &str = "version = 1\nextends = [\"base\"]\n";
/// `user` and `secret`, by bcrypt.
const USERS: &str = "user:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";

pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "registry::what_is_pushed_is_pulled_as_it_was",
        NEEDS,
        as_it_was,
    );
    suite.test(
        "registry::a_tag_that_moves_leaves_what_is_pinned",
        NEEDS,
        pinned,
    );
    suite.test(
        "registry::what_would_mean_something_else_elsewhere_is_not_pushed",
        NEEDS,
        not_pushed,
    );
    suite.test(
        "registry::what_was_changed_on_its_way_is_not_kept",
        NEEDS,
        changed,
    );
    suite.test(
        "registry::a_password_is_that_of_the_engines_login",
        NEEDS,
        password,
    );
    suite.test(
        "registry::a_registry_that_nobody_vouches_for_is_refused_and_one_with_an_own_authority_is_not",
        CERTIFIED,
        certified,
    );
    suite.test(
        "registry::an_installed_profile_is_one_that_containers_can_name",
        CONTAINER,
        installed,
    );
}

/// A registry that ends with its handle.
struct Registry {
    folder: Folder,
    process: Child,
    host: String,
}

impl Registry {
    fn start(access: &str) -> Result<Self, Failed> {
        Self::start_with(access, "")
    }

    /// With more about its address, as `, tls: {...}`.
    fn start_with(access: &str, address: &str) -> Result<Self, Failed> {
        let folder = Folder::new()?;
        let storage = folder.at("storage");
        let configuration = folder.file(
            "config.yml",
            &format!(
                "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
                 http: {{addr: \"127.0.0.1:0\"{address}}}\n{access}",
                storage.display()
            ),
        )?;
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(process.stderr.take().ok_or("no standard error")?).lines();
        let mut told = String::new();
        let host = loop {
            let Some(line) = lines.next() else {
                process.wait()?;
                return Err(format!("the registry does not start: {told}").into());
            };
            let line = line?;
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find(|one: char| !one.is_ascii_digit() && !".:".contains(one));
                break rest[..end.unwrap_or(rest.len())].to_owned();
            }
            told.push_str(&line);
        };
        // It goes on telling, and nobody wants to know.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self {
            folder,
            process,
            host,
        })
    }

    /// `ringfence profile WORDS`, in the registry's folder; a leading `@` stands for the registry.
    fn profile(&self, words: &[&str]) -> Ringfence {
        let words = words.iter().map(|word| match word.strip_prefix('@') {
            Some(rest) => format!("{}{rest}", self.host),
            None => (*word).to_owned(),
        });
        Ringfence::with(["profile"])
            .and(words)
            .in_folder(self.folder.path())
            .variable("HOME", self.folder.path())
            .variable("XDG_CONFIG_HOME", self.folder.at(".config"))
            .variable("REGISTRY_AUTH_FILE", self.folder.at("auth.json"))
    }

    /// Pushes a profile of this text; what pins it.
    fn push(&self, text: &str, address: &str) -> Result<String, Failed> {
        self.folder.file("pushed.toml", text)?;
        let pushed = self.profile(&["push", "pushed.toml", address]).run()?;
        pushed.exits_with(0)?;
        let pin = pushed.out().trim().to_owned();
        match pin.contains("@sha256:") {
            true => Ok(pin.replace(&self.host, "")),
            false => Err(format!("no digest: {pin}").into()),
        }
    }

    fn pull(&self, address: &str) -> Result<Finished, Failed> {
        self.profile(&["pull", address]).run()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn same(found: &str, expected: &str) -> Verdict {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{found:?}, not {expected:?}").into()),
    }
}

fn complains(finished: &Finished, text: &str) -> Verdict {
    finished.exits_with(125)?;
    match finished.err().contains(text) {
        true => Ok(()),
        false => Err(format!("no {text:?} in {}", finished.err()).into()),
    }
}

fn as_it_was() -> Verdict {
    let registry = Registry::start("")?;
    let pin = registry.push(PROFILE, "@/ci/web:1")?;
    same(&registry.push(PROFILE, "@/ci/web:1")?, &pin)?;
    let pulled = registry.pull("@/ci/web:1")?;
    pulled.exits_with(0)?;
    same(&pulled.out(), PROFILE)?;
    if !pulled.err().contains(&pin) {
        return Err(format!("{pin} is not in {}", pulled.err()).into());
    }
    let file = registry.folder.at("kept.toml");
    let kept = file.display().to_string();
    let pulled = registry
        .profile(&["pull", &format!("@{pin}"), "-o", &kept])
        .run()?;
    pulled.exits_with(0)?;
    same(&fs::read_to_string(&file)?, PROFILE)?;
    let json = r#"{"version": 1, "extends": ["base"]}"#;
    registry.folder.file("p.json", json)?;
    registry
        .profile(&["push", "p.json", "@/ci/web:json"])
        .run()?
        .exits_with(0)?;
    same(&registry.pull("@/ci/web:json")?.out(), json)?;
    complains(&registry.pull("@/ci/web:2")?, "is the name right")
}

fn pinned() -> Verdict {
    let registry = Registry::start("")?;
    let pin = registry.push(PROFILE, "@/web:1")?;
    let other = registry.push(OTHER, "@/web:1")?;
    if pin == other {
        return Err("two profiles have one digest".into());
    }
    same(&registry.pull("@/web:1")?.out(), OTHER)?;
    same(&registry.pull(&format!("@{pin}"))?.out(), PROFILE)
}

fn not_pushed() -> Verdict {
    let registry = Registry::start("")?;
    for (text, complaint) in [
        ("version = 1\n[files]\nraed = []\n", "raed"),
        ("version = 1\nextends = [\"./base.toml\"]\n", "is a file"),
        ("version = 1\nextends = [\"nosuch\"]\n", "nosuch"),
        (
            "version = 1\n[[program]]\npath = \"/bin/x\"\nextends = [\"/etc/x.toml\"]\n",
            "is a file",
        ),
    ] {
        registry.folder.file("p.toml", text)?;
        // The file is there, and would be read on this host.
        registry.folder.file("base.toml", OTHER)?;
        complains(
            &registry.profile(&["push", "p.toml", "@/web:1"]).run()?,
            complaint,
        )?;
    }
    complains(&registry.pull("@/web:1")?, "is the name right")?;
    registry.folder.file("p.toml", OTHER)?;
    complains(
        &registry.profile(&["push", "p.toml", "web:1"]).run()?,
        "names no registry",
    )?;
    let digest = format!("@/web@sha256:{}", "0".repeat(64));
    complains(
        &registry.profile(&["push", "p.toml", &digest]).run()?,
        "give a tag",
    )
}

/// In the registry's own storage.
fn changed() -> Verdict {
    let registry = Registry::start("")?;
    let pin = registry.push(PROFILE, "@/web:1")?;
    let blob = file_with(&registry.folder.at("storage"), "5f2c19aa")?;
    fs::write(&blob, PROFILE.replace("untrusted", "python   "))?;
    for address in ["@/web:1", &format!("@{pin}")] {
        let pulled = registry
            .profile(&["pull", address, "-o", "kept.toml"])
            .run()?;
        complains(&pulled, "igest")?;
    }
    match registry.folder.at("kept.toml").exists() {
        true => Err("it was kept".into()),
        false => Ok(()),
    }
}

fn file_with(folder: &Path, text: &str) -> Result<PathBuf, Failed> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Ok(found) = file_with(&path, text) {
                return Ok(found);
            }
        } else if fs::read_to_string(&path)?.contains(text) {
            return Ok(path);
        }
    }
    Err(format!("nothing in {} has {text}", folder.display()).into())
}

fn password() -> Verdict {
    let users = Folder::new()?;
    let file = users.file("users", USERS)?;
    let registry = Registry::start(&format!(
        "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
        file.display()
    ))?;
    registry.folder.file("p.toml", PROFILE)?;
    let push = ["push", "p.toml", "@/web:1"];
    complains(&registry.profile(&push).run()?, "podman login")?;
    let auth = |encoded: &str| {
        let text = format!(
            "{{\"auths\": {{\"{}\": {{\"auth\": \"{encoded}\"}}}}}}",
            registry.host
        );
        registry.folder.file("auth.json", &text)
    };
    // user:wrong
    auth("dXNlcjp3cm9uZw==")?;
    complains(&registry.profile(&push).run()?, "podman login")?;
    // user:secret
    auth("dXNlcjpzZWNyZXQ=")?;
    registry.profile(&push).run()?.exits_with(0)?;
    same(&registry.pull("@/web:1")?.out(), PROFILE)?;
    registry.folder.file("auth.json", "no json")?;
    complains(&registry.pull("@/web:1")?, "auth.json")
}

/// An authority that nobody knows, and a registry on loopback that it vouches for.
fn vouched_for(folder: &Folder, name: &str) -> Verdict {
    let script = format!(
        "key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
         openssl req -x509 $key -keyout {name}-ca.key -out {name}-ca.crt -days 2 -subj /CN={name} \
             -addext keyUsage=critical,keyCertSign
         openssl req $key -keyout {name}.key -out {name}.csr -subj /CN=registry
         echo subjectAltName=IP:127.0.0.1 > {name}.ext
         openssl x509 -req -in {name}.csr -CA {name}-ca.crt -CAkey {name}-ca.key -CAcreateserial -days 2 \
             -extfile {name}.ext -out {name}.crt"
    );
    let made = Command::new("/bin/sh")
        .args(["-e", "-c", &script])
        .current_dir(folder.path())
        .output()?;
    match made.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&made.stderr).into_owned().into()),
    }
}

fn certified() -> Verdict {
    let folder = Folder::new()?;
    vouched_for(&folder, "own")?;
    vouched_for(&folder, "other")?;
    let [certificate, key] = ["own.crt", "own.key"].map(|name| folder.at(name));
    let registry = Registry::start_with(
        "",
        &format!(
            ", tls: {{certificate: {}, key: {}}}",
            certificate.display(),
            key.display()
        ),
    )?;
    registry.folder.file("p.toml", PROFILE)?;
    let push = || registry.profile(&["push", "p.toml", "@/web:1"]);
    complains(&push().run()?, "it speaks TLS")?;
    let place = format!(".config/containers/certs.d/{}", registry.host);
    let place = registry.folder.at(&place);
    fs::create_dir_all(&place)?;
    complains(&push().run()?, "/etc/containers/certs.d/")?;
    fs::copy(folder.at("other-ca.crt"), place.join("ca.crt"))?;
    complains(&push().run()?, "SSL_CERT_FILE")?;
    complains(&registry.pull("@/web:1")?, "SSL_CERT_FILE")?;
    push()
        .variable("SSL_CERT_FILE", folder.at("own-ca.crt"))
        .run()?
        .exits_with(0)?;
    fs::copy(folder.at("own-ca.crt"), place.join("ca.crt"))?;
    same(&registry.pull("@/web:1")?.out(), PROFILE)?;
    fs::write(place.join("client.cert"), "")?;
    complains(&registry.pull("@/web:1")?, "client.cert")
}

/// A name that this test alone uses, gone afterwards.
struct Installed(PathBuf);

impl Drop for Installed {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

fn installed() -> Verdict {
    let registry = Registry::start("")?;
    let name = format!("ringfence-test-pulled-{}", std::process::id());
    let place = Installed(format!("/etc/ringfence/profiles/{name}.toml").into());
    registry.push(PROFILE, "@/web:1")?;
    let pull = ["pull", "@/web:1", "--install", &name];
    let bundle = || -> Result<Bundle, Failed> {
        Bundle::of("ringfence-runc", "cat /data/kept || echo unread")?.named(&name)
    };
    // A name is looked up on the host, and nowhere else.
    bundle()?.call(&["run", "@"])?.complains(&name)?;
    registry.profile(&pull).run()?.exits_with(0)?;
    same(&fs::read_to_string(&place.0)?, PROFILE)?;
    complains(&registry.profile(&pull).run()?, "--replace")?;
    let reads = "version = 1\nextends = [\"untrusted\"]\n[files]\nread = [\"/data/**\", \"/bin/**\"]\nexec = [\"/bin/**\"]\n";
    registry.push(reads, "@/web:1")?;
    let replace = [&pull[..], &["--replace"]].concat();
    registry.profile(&replace).run()?.exits_with(0)?;
    bundle()?.call(&["run", "@"])?.says("kept\n")?;
    let wrong = ["pull", "@/web:1", "--install", "../web"];
    complains(&registry.profile(&wrong).run()?, "no name of a profile")
}
