//! The filter of system calls, call by call.

use std::path::Path;

use ringfence::confine::Engine;

use crate::kit::{policy, request, run, system};

/// Tries one system call by number in the fence and returns its errno.
fn attempt(call: &str, engine: Engine) -> u8 {
    let python = "/usr/bin/python3";
    let script = format!(
        "import ctypes,sys\nl=ctypes.CDLL(None,use_errno=True)\nr=l.syscall({call})\nsys.exit(ctypes.get_errno() if r<0 else 0)"
    );
    run(
        &request(python, &["-c", &script]),
        &policy(&system()),
        engine,
    )
    .unwrap()
    .code
}

#[test]
fn what_manages_the_kernel_is_closed() {
    if !Path::new("/usr/bin/python3").exists() || !cfg!(target_arch = "x86_64") {
        eprintln!("skipped: what_manages_the_kernel_is_closed needs x86_64 and /usr/bin/python3");
        return;
    }
    let eperm = 1;
    let enosys = 38;
    let eacces = 13;
    for (call, errno) in [
        ("165, 0, 0, 0, 0, 0", eperm),                       // mount
        ("321, 0, 0, 0", eperm),                             // bpf
        ("467, 0, 0, 0, 0, 0", eperm),                       // open_tree_attr
        ("442, 0, 0, 0, 0, 0", eperm),                       // mount_setattr
        ("425, 1, 0", eperm),                                // io_uring_setup
        ("250, 0, 0, 0", eperm),                             // keyctl
        ("272, 0x10000000", eperm),                          // unshare(CLONE_NEWUSER)
        ("56, 0x10000011, 0, 0, 0, 0", eperm),               // clone(CLONE_NEWUSER)
        ("435, 0, 0", enosys),                               // clone3
        ("999, 0", enosys),                                  // not there
        ("0x40000000 + 39, 0", enosys),                      // x32
        ("16, 0, 0x5412, 0", eperm),                         // TIOCSTI
        ("16, 0, ctypes.c_ulong(0xdead00005412), 0", eperm), // TIOCSTI, with bits the kernel drops
        ("16, 0, 0x541c, 0", eperm),                         // TIOCLINUX
        ("135, 0x0400000", eperm),                           // personality(READ_IMPLIES_EXEC)
        ("41, 2, 1, 0", eacces),                             // socket(AF_INET)
        ("41, 16, 3, 0", eacces),                            // socket(AF_NETLINK)
        ("53, 2, 1, 0, 0", eacces),                          // socketpair(AF_INET)
    ] {
        assert_eq!(attempt(call, Engine::BpfLsm), errno, "{call}");
    }
    for call in [
        "135, ctypes.c_ulong(0xffffffff)",
        "135, 0x0040000",
        "41, 1, 1, 0",
        "272, 0x400",
        "39, 0",
    ] {
        assert_eq!(attempt(call, Engine::BpfLsm), 0, "{call}");
    }
    assert_eq!(attempt("41, 1, 1, 0", Engine::Fallback), eacces);
}
