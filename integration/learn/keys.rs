//! Keys, and those who hold them: ssh to a server on loopback, and agents at their Unix sockets. What is secret is a question, and taken when
//! somebody says so.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::Workshop;
use crate::kit::{Need, Suite, Verdict};

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Processor,
    Need::Program("git"),
    Need::Program("ssh"),
    Need::Program("sshd"),
    Need::Program("unshare"),
];
const NEEDS_GPG: &[Need] = &[
    Need::Root,
    Need::Cgroup,
    Need::Processor,
    Need::Program("gpg"),
    Need::Program("gpg-agent"),
];
/// How long a server is waited for before it is taken for lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// What this subject promises.
pub(super) fn register(suite: &mut Suite) {
    suite.test(
        "learn::a_clone_by_ssh_asks_about_keys_and_goes_there_and_back",
        NEEDS,
        by_ssh,
    );
    suite.test(
        "learn::an_agent_is_reached_and_its_keys_are_not_read",
        NEEDS,
        by_agent,
    );
    suite.test(
        "learn::gpg_and_the_agent_that_it_starts_go_there_and_back",
        NEEDS_GPG,
        by_gpg,
    );
}

/// Keys of the server and of who comes, and a repository. Of the client's files those that are no secret lie in the home directory itself.
const PREPARE: &str = r#"
set -e
mkdir -m 700 "$HOME/.ssh"
ssh-keygen -q -t ed25519 -N '' -f host
ssh-keygen -q -t ed25519 -N '' -f "$HOME/.ssh/id_ed25519"
cp "$HOME/.ssh/id_ed25519.pub" authorized
cp authorized "$HOME/public"
cat > sshd_config <<END
ListenAddress 127.0.0.1
Port $PORT
HostKey $PWD/host
AuthorizedKeysFile $PWD/authorized
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PidFile none
END
known() { echo "[127.0.0.1]:$PORT $(cut -d ' ' -f 1,2 host.pub)"; }
config() { # known hosts, key
    printf 'Host there\nHostName 127.0.0.1\nPort %s\nUser root\n' $PORT
    printf 'UserKnownHostsFile %s\nGlobalKnownHostsFile none\nUpdateHostKeys no\n' "$1"
    printf 'IdentityFile %s\nIdentitiesOnly yes\n' "$2"
}
known > "$HOME/.ssh/known_hosts"
known > "$HOME/known"
config "$HOME/.ssh/known_hosts" "$HOME/.ssh/id_ed25519" > "$HOME/.ssh/config"
config "$HOME/known" "$HOME/public" > "$HOME/config"
git init -q seed
cd seed
echo built > file
git add file
git -c user.name=n -c user.email=e@x commit -qm 1
"#;

/// The superuser may come in even where the account is locked; nobody outside sees that.
const SERVE: &str = r#"
mount -t tmpfs none /run
mkdir /run/sshd
sed 's/^root:[^:]*/root:*/' /etc/shadow > /run/shadow
mount --bind /run/shadow /etc/shadow
exec "$(command -v sshd)" -D -e -f sshd_config
"#;

/// A server of the test's own, on loopback.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(shop: &Workshop) -> Result<Self, Failed> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut prepare = Command::new("sh");
        prepare
            .args(["-c", PREPARE])
            .current_dir(shop.aside.path())
            .env("HOME", shop.aside.at("home"))
            .env("PORT", port.to_string());
        if !prepare.status()?.success() {
            return Err("the server cannot be prepared".into());
        }
        let child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-ec", SERVE])
            .current_dir(shop.aside.path())
            .stdin(Stdio::null())
            .stderr(fs::File::create(shop.aside.at("log"))?)
            .spawn()?;
        let server = Self { child, port };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if start.elapsed() > PATIENCE {
                let log = fs::read_to_string(shop.aside.at("log"))?;
                return Err(format!("the server does not listen:\n{log}").into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Clones by this configuration of ssh.
fn clone(shop: &Workshop, config: &str) -> String {
    let seed = shop.aside.at("seed");
    let home = shop.aside.at("home");
    format!(
        "set -e; export GIT_SSH_COMMAND='ssh -F {}/{config}'; rm -rf c; git clone -q there:{} c; cat c/file; rm -rf c",
        home.display(),
        seed.display()
    )
}

fn by_ssh() -> Verdict {
    let shop = Workshop::new()?;
    let server = Server::start(&shop)?;
    let script = clone(&shop, ".ssh/config");
    let command = ["sh", "-c", &script];
    let learned = shop.learn(&[], &command)?;
    learned
        .says("built")?
        .complains("not allowed unless you say so")?;
    let asked: Vec<_> = shop.text()?.lines().map(str::to_owned).collect();
    let is_asked = |name: &str| {
        let mut lines = asked.iter();
        lines.any(|line| line.contains("#? ") && line.contains(name))
    };
    learned.claim(is_asked(".ssh/id_ed25519\""), "a question about the key")?;
    shop.enforce(&command)?.0.fails()?.does_not_say("built")?;
    shop.learn(&["--accept-secrets"], &command)?;
    let profile = shop.text()?;
    let rule = format!("\"127.0.0.1:{}\"", server.port);
    learned.claim(profile.contains(&rule), &format!("{rule} in\n{profile}"))?;
    shop.works(&command)?.says("built")?;
    // Another server, and another key.
    let other = format!(
        "ssh -F $HOME/.ssh/config -p {} there true",
        other_port(&server)?
    );
    let (finished, _) = shop.enforce(&["sh", "-c", &other])?;
    finished.fails()?.complains("denied connect")?;
    shop.aside.file("home/.ssh/other", "KEY")?;
    let (finished, _) = shop.enforce(&["sh", "-c", "cat $HOME/.ssh/other"])?;
    finished.fails()?.does_not_say("KEY")?;
    Ok(())
}

/// A port at which nobody listens, and that is not the server's.
fn other_port(server: &Server) -> Result<u16, Failed> {
    loop {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if port != server.port {
            return Ok(port);
        }
    }
}

/// An agent with the key, outside.
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(shop: &Workshop, name: &str) -> Result<Self, Failed> {
        let socket = shop.aside.at("home").join(name);
        let child = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()?;
        let agent = Self { child, socket };
        let add = || {
            let mut add = Command::new("ssh-add");
            add.arg("-q")
                .arg(shop.aside.at("home/.ssh/id_ed25519"))
                .env("SSH_AUTH_SOCK", &agent.socket)
                .stderr(Stdio::null());
            add.status().is_ok_and(|status| status.success())
        };
        let start = Instant::now();
        while !add() {
            if start.elapsed() > PATIENCE {
                return Err("the agent takes no key".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(agent)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn by_agent() -> Verdict {
    let shop = Workshop::new()?;
    let _server = Server::start(&shop)?;
    let (own, other) = (Agent::start(&shop, "agent")?, Agent::start(&shop, "other")?);
    let with = |agent: &Agent| {
        let socket = agent.socket.display();
        format!("export SSH_AUTH_SOCK={socket}; {}", clone(&shop, "config"))
    };
    let script = with(&own);
    let command = ["sh", "-c", &script];
    let learned = shop.learn(&[], &command)?;
    learned.says("built")?;
    let profile = shop.text()?;
    let is_right = profile.contains("\"${HOME}/agent\"") && !profile.contains("#? ");
    learned.claim(
        is_right,
        &format!("the socket and no question in\n{profile}"),
    )?;
    shop.works(&command)?.says("built")?;
    let (finished, _) = shop.enforce(&["sh", "-c", &with(&other)])?;
    finished.fails()?.does_not_say("built")?;
    finished.complains("denied connect-unix")?;
    Ok(())
}

fn by_gpg() -> Verdict {
    let shop = Workshop::new()?;
    let home = shop.aside.at("home");
    // Without an agent that stands before.
    let prepare = "set -e; mkdir -m 700 \"$HOME/.gnupg\"; \
                   gpg --batch --quiet --passphrase '' --quick-generate-key n@x ed25519 sign; gpgconf --kill all";
    let prepared = Command::new("sh")
        .args(["-c", prepare])
        .env("HOME", &home)
        .stderr(Stdio::null())
        .status()?;
    if !prepared.success() {
        return Err("the key cannot be made".into());
    }
    shop.work.file("given", "built\n")?;
    let script = "set -e; rm -f signed; gpg --batch --quiet -o signed --clear-sign given; gpg --batch --quiet --decrypt signed; rm signed";
    let command = ["sh", "-c", script];
    shop.learn(&[], &command)?
        .says("built")?
        .complains("not allowed unless you say so")?;
    shop.enforce(&command)?.0.fails()?.does_not_say("built")?;
    shop.learn(&["--accept-secrets"], &command)?;
    let profile = shop.text()?;
    let sockets = profile.split_once("unix = [");
    if !sockets.is_some_and(|(_, rules)| rules.contains("gnupg")) {
        return Err(format!("the agent's socket is not in\n{profile}").into());
    }
    shop.works(&command)?.says("built")?;
    let (finished, _) = shop.enforce(&[
        "sh",
        "-c",
        "gpg --batch --quiet -o \"$HOME/signed\" --clear-sign given",
    ])?;
    finished.fails()?;
    finished.claim(!home.join("signed").exists(), "nothing outside")?;
    Ok(())
}
