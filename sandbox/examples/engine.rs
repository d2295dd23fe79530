//! Opens the BPF LSM engine and says how long that took: for trying a kernel by hand, as root.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Instant;

use ringfence::kernel::{Cgroup, Engine};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = PathBuf::from("/sys/fs/cgroup/rf-test");
    std::fs::create_dir_all(&directory)?;
    let id = std::fs::metadata(&directory)?.ino();
    let start = Instant::now();
    match Engine::open(&Cgroup { directory, id }) {
        Ok(engine) => println!("ok loaded_now={} {:?}", engine.loaded_now, start.elapsed()),
        Err(error) => {
            println!("ERR {error}");
            std::process::exit(1)
        }
    }
    Ok(())
}
