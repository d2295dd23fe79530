//! Every bound of the kernel half, in one place. A thing that does not fit is refused or denied, never cut.

/// Longest path that is matched, in bytes, without a terminator. The kernel's `PATH_MAX` (include/uapi/linux/limits.h)
/// counts one. A longer path is denied.
pub const PATH_BYTES: usize = 4095;
/// Longest name of one directory entry (`NAME_MAX`).
pub const NAME_BYTES: usize = 255;
/// Most directories and mounts between a file and the root of its mount namespace. A deeper path is denied: with
/// names of one byte, 2,048 components still fit into a path of 4,095 bytes.
pub const WALK_STEPS: usize = 2560;
/// Tasks in all fences together. A fork beyond it fails with `ENOMEM`.
pub const TASKS: u32 = 65_536;
/// Fences at a time.
pub const FENCES: u32 = 4_096;
/// Policies at a time, in each table size: one a fence, and one more for each program with rights of its own.
pub const TABLES: u32 = 4 * FENCES;
/// Levels below the root of the cgroup hierarchy at which a container's cgroup may lie, for those that are put into a cgroup
/// below it to be fenced.
pub const CGROUP_LEVELS: u32 = 16;
/// System V IPC objects that fenced tasks have made, at a time. Making one more fails with `ENOMEM`.
pub const IPC_OBJECTS: u32 = 16_384;
/// Addresses that names have led to, in all policies together. The resolver does not answer where there is no room.
pub const NAMES: u32 = 65_536;
/// Peers of UDP sockets that are remembered, in all fences together; the least used one is forgotten, and what it sends is
/// judged anew.
pub const FLOWS: u32 = 65_536;
/// Peers of all fences together whose traffic is counted, where somebody asks for it; that of further ones is counted
/// together.
pub const TRAFFIC: u32 = 16_384;
/// Cgroups between that of a socket and that of its fence. A socket deeper down counts as not of the fence's.
pub const CGROUP_DEPTH: usize = 8;
/// Ancestors that an event names.
pub const CHAIN: usize = 8;
/// Bytes of a task's short name, terminator included (`TASK_COMM_LEN`).
pub const COMM_BYTES: usize = 16;
/// Bytes of the ring buffer that carries one fence's events.
pub const EVENT_RING_BYTES: u32 = 1 << 20;
/// Different acts of one recording that the kernel half knows to have told. What comes after them is told every time.
pub const SEEN: u32 = 1 << 17;
/// Bytes of the ring buffer that carries a recording.
pub const RECORD_RING_BYTES: u32 = 1 << 24;
/// Recordings at a time.
pub const RECORDINGS: u32 = 64;
/// Tasks at a time that are recorded one by one, and not by their cgroup.
pub const RECORDED_TASKS: u32 = 65_536;
/// Numbers of system calls that a recording tells apart.
pub const SYSTEM_CALLS: usize = 512;
/// Recorded tasks that are in the middle of an exec.
pub const EXECUTING: u32 = 4096;
