//! Services outside that are reached by a Unix socket: learned, and reached under what was learned.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
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

/// Answers whoever comes, until the test's process ends.
fn serve(path: &Path) -> Verdict {
    let listener = UnixListener::bind(path)?;
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
    Ok(())
}

fn there_and_back() -> Verdict {
    let shop = Workshop::new()?;
    let service = shop.aside.at("service.sock");
    let other = shop.aside.at("other.sock");
    serve(&service)?;
    serve(&other)?;
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
