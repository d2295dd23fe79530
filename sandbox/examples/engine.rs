//! scratch
use ringfence::kernel::{Cgroup, Engine};
use std::os::unix::fs::MetadataExt;
fn main() {
    let dir = std::path::PathBuf::from("/sys/fs/cgroup/rf-test");
    std::fs::create_dir_all(&dir).unwrap();
    let id = std::fs::metadata(&dir).unwrap().ino();
    let t = std::time::Instant::now();
    match Engine::open(&Cgroup { directory: dir, id }) {
        Ok(e) => println!("ok loaded_now={} {:?}", e.loaded_now, t.elapsed()),
        Err(e) => {
            println!("ERR {e}");
            std::process::exit(1)
        }
    }
}
