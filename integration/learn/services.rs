//! Services outside that are reached by a Unix socket: learned, and reached under what was learned.

use std::io::{Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;

use super::{RECORDING, Workshop};
use crate::kit::{PYTHON, Suite, Verdict};

/// What this subject promises.
pub(super) fn register(suite: &mut Suite) {
    suite.test(
        "learn::a_service_at_a_unix_socket_goes_there_and_back",
        RECORDING,
        there_and_back,
    );
    suite.test(
        "learn::a_service_by_an_abstract_name_goes_there_and_back",
        RECORDING,
        by_name,
    );
}

/// Asks for a page, and looks a user up first, as C libraries do: by another Unix socket, where nobody is.
const CLIENT: &str = "
import http.client, os, pwd, socket, sys
pwd.getpwuid(os.getuid())
class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])
asked = Connection('localhost')
asked.request('GET', '/')
print(asked.getresponse().read().decode())
";

/// Asks for a page and sends datagrams, and then talks to itself at a name that holds its number.
const NAMED: &str = "
import os, socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.connect('\\0' + sys.argv[1])
asked.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
print(asked.recv(1024).decode())
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
    sender.sendto(b'x', '\\0' + sys.argv[1] + '-sent')
    sender.sendmsg([b'x'], [], 0, '\\0' + sys.argv[1] + '-message')
own = f'\\0{sys.argv[2]}-{10000 + os.getpid()}'
with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
    listener.bind(own)
    listener.listen()
    client.connect(own)
    listener.accept()[0].sendall(b'stream')
    print(client.recv(9).decode())
";

/// Answers whoever comes, until the test's process ends.
fn serve(listener: UnixListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut asked = [0; 1024];
            let page = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nbuilt";
            if stream.read(&mut asked).is_ok() {
                stream.write_all(page).ok();
            }
        }
    });
}

fn there_and_back() -> Verdict {
    let shop = Workshop::new()?;
    let service = shop.aside.at("service.sock");
    let other = shop.aside.at("other.sock");
    serve(UnixListener::bind(&service)?);
    serve(UnixListener::bind(&other)?);
    shop.work.file("client.py", CLIENT)?;
    let at = |path: &Path| path.display().to_string();
    let (service, other) = (at(&service), at(&other));
    let asks = |path| [PYTHON, "-I", "client.py", path];
    shop.learn(&[], &asks(&service))?.says("built")?;
    let text = shop.text()?;
    if !text.contains("service.sock") {
        return Err(format!("no rule about the service:\n{text}").into());
    }
    let works = shop.works(&asks(&service))?;
    works.says("built")?;
    let (finished, _) = shop.enforce(&asks(&other))?;
    finished.fails()?.does_not_say("built")?;
    finished.complains("denied connect-unix")?;
    Ok(())
}

fn by_name() -> Verdict {
    let shop = Workshop::new()?;
    let id = std::process::id();
    // One begins as the other.
    let (service, other) = (format!("rf-learn-{id}"), format!("rf-learn-{id}x"));
    for name in [&service, &other] {
        let address = SocketAddr::from_abstract_name(name.as_bytes())?;
        serve(UnixListener::bind_addr(&address)?);
    }
    let receives = ["sent", "message"].map(|kind| {
        let name = format!("{service}-{kind}");
        UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes())?)
    });
    shop.work.file("client.py", NAMED)?;
    let own = format!("rf-own-{id}");
    let asks = |name| [PYTHON, "-I", "client.py", name, &own];
    shop.learn(&[], &asks(&service))?.says("built")?;
    let text = shop.text()?;
    let names = ["", "-sent", "-message"].map(|end| format!("{service}{end}"));
    for name in names
        .iter()
        .map(String::as_str)
        .chain(["rf-own-[0-9]*-[0-9]*"])
    {
        let rule = format!("\"@{name}\"");
        if !text.contains(&rule) {
            return Err(format!("no rule {rule} in\n{text}").into());
        }
    }
    let works = shop.works(&asks(&service))?;
    works.says("built")?.says("stream")?;
    for receiver in receives {
        // Learned, enforced, and not once more.
        let receiver = receiver?;
        receiver.set_nonblocking(true)?;
        let came = [(); 3].map(|()| receiver.recv(&mut [0; 9]).is_ok());
        works.claim(came == [true, true, false], "two datagrams")?;
    }
    let (finished, _) = shop.enforce(&asks(&other))?;
    finished.fails()?.does_not_say("built")?;
    finished.complains(&format!("denied connect-unix @{other}"))?;
    let checked = shop
        .ringfence(["check", "-p"])
        .and([shop.profile()])
        .and(["--"])
        .and(asks(&other))
        .run()?;
    checked.exits_with(1)?.says(&other)?;
    Ok(())
}
