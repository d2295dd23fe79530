//! Every map of the kernel half. All fences share them; what belongs to one fence is keyed by it.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, HashOfMaps, LruHashMap, RingBuf, SkStorage},
    macros::btf_map,
};
use ringfence_abi::{
    limits,
    network::{Flow, Grant, GrantKey, Peer, Resolver, Traffic, TrafficKey},
    policy::{Counters, LARGE_WORDS, Label, MEDIUM_WORDS, SMALL_WORDS, Table},
    record::{Known, Recording, Seen},
};

use crate::{
    greeting::Expected,
    scratch::{SLOTS, Slot},
    traffic::Opened,
};

/// Fenced tasks, by the address of their `task_struct`: filled at `task_alloc` and enrolment, emptied at `task_free`.
///
/// Task storage would be the natural place, but `bpf_task_storage_get` may answer NULL for a task that has one while
/// another task holds its per-CPU lock (`bpf_task_storage_trylock`, kernel/bpf/bpf_task_storage.c, before 6.2).
#[btf_map]
pub static TASKS: HashMap<u64, Label, { limits::TASKS as usize }> = HashMap::new();

/// Cgroups whose tasks are enrolled when they next execute a program, by cgroup id.
#[btf_map]
pub static CGROUPS: HashMap<u64, Label, { limits::FENCES as usize }> = HashMap::new();

/// Counters, by fence.
#[btf_map]
pub static COUNTERS: HashMap<u32, Counters, { limits::FENCES as usize }> = HashMap::new();

/// System V IPC objects that fenced tasks have made, by the address of their `struct kern_ipc_perm`; the value is the
/// fence.
#[btf_map]
pub static IPC_OBJECTS: HashMap<u64, u32, { limits::IPC_OBJECTS as usize }> = HashMap::new();

/// Policies of the smallest size, by `ringfence_abi::policy::table`.
#[btf_map]
pub static TABLES_SMALL: HashOfMaps<
    u32,
    Array<Table<SMALL_WORDS>, 1>,
    { limits::TABLES as usize },
> = HashOfMaps::new();

/// Policies of the middle size, likewise.
#[btf_map]
pub static TABLES_MEDIUM: HashOfMaps<
    u32,
    Array<Table<MEDIUM_WORDS>, 1>,
    { limits::TABLES as usize },
> = HashOfMaps::new();

/// Policies of the largest size, likewise.
#[btf_map]
pub static TABLES_LARGE: HashOfMaps<
    u32,
    Array<Table<LARGE_WORDS>, 1>,
    { limits::TABLES as usize },
> = HashOfMaps::new();

/// The fence that the programs on a cgroup belong to: one value for each cgroup and each kind of program on it, which the
/// kernel keeps with the attachment.
///
/// The socket's cgroup would say it as well, but what gets at it is not there for all kinds of programs. The younger
/// kind of cgroup storage (6.2) has to be given the cgroup.
#[expect(deprecated, reason = "what has taken its place has to be given the cgroup, and begins with 6.2")]
#[btf_map]
pub static FENCE: aya_ebpf::btf_maps::CgroupStorage<Label> =
    aya_ebpf::btf_maps::CgroupStorage::new();

/// Addresses that names have led to.
#[btf_map]
pub static NAMES: HashMap<
    GrantKey,
    Grant,
    { limits::NAMES as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

/// Where name queries go, by fence.
#[btf_map]
pub static RESOLVERS: HashMap<u32, Resolver, { limits::FENCES as usize }> = HashMap::new();

/// The cgroup of a fence's supervisor, by fence, where it connects the fence's Unix sockets to paths.
#[btf_map]
pub static CONNECTORS: HashMap<u32, u64, { limits::FENCES as usize }> = HashMap::new();

/// Peers that UDP sockets have to do with; the value means nothing.
#[btf_map]
pub static FLOWS: LruHashMap<Flow, u32, { limits::FLOWS as usize }> = LruHashMap::new();

/// Where a socket's name queries were going before they went to the resolver.
#[btf_map]
pub static REDIRECTED: SkStorage<Peer> = SkStorage::new();

/// What is known of a connection whose first bytes are to be looked at.
#[btf_map]
pub static GREETINGS: SkStorage<Expected> = SkStorage::new();

/// Connections that were opened from inside, where traffic is counted.
#[btf_map]
pub static OPENED: SkStorage<Opened> = SkStorage::new();

/// What has passed, where somebody asks for it.
#[btf_map]
pub static TRAFFIC: HashMap<
    TrafficKey,
    Traffic,
    { limits::TRAFFIC as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

/// Event streams, by fence.
#[btf_map]
pub static EVENTS: HashOfMaps<
    u32,
    RingBuf<u8, { limits::EVENT_RING_BYTES as usize }>,
    { limits::FENCES as usize },
> = HashOfMaps::new();

/// Working memory, see [`crate::scratch`].
#[btf_map]
pub static SCRATCH: Array<Slot, { SLOTS as usize }> = Array::new();

/// Recordings that stand, by their number. The maps from here on are those of recordings; what does not record makes them as
/// small as they can be.
#[btf_map]
pub static RECORDINGS: Array<Recording, { limits::RECORDINGS as usize }> = Array::new();

/// How the recordings that stand know their tasks.
#[btf_map]
pub static RECORDED_BY: Array<Known, 1> = Array::new();

/// Cgroups that are recorded, by cgroup id; the value is the recording, with [`ringfence_abi::record::AT_EXEC`] where their tasks are taken
/// in one by one.
#[btf_map]
pub static RECORDED: HashMap<u64, u32, { limits::RECORDINGS as usize }> = HashMap::new();

/// Tasks that are recorded wherever they stand, by their thread's number; the value is the recording, with
/// [`ringfence_abi::record::AT_EXEC`] as long as an exec has not succeeded that takes the task in.
#[btf_map]
pub static RECORDED_TASKS: HashMap<u32, u32, { limits::RECORDED_TASKS as usize }> = HashMap::new();

/// Acts that have been told, and how often each was done, by recording.
#[btf_map]
pub static SEEN: HashOfMaps<
    u32,
    HashMap<Seen, u64, { limits::SEEN as usize }>,
    { limits::RECORDINGS as usize },
> = HashOfMaps::new();

/// Programs that are about to execute another, by the address of the `task_struct`: who it was, for when it has happened.
#[btf_map]
pub static EXECUTING: HashMap<u64, u64, { limits::EXECUTING as usize }> = HashMap::new();

/// Acts on their way to user space, by recording.
#[btf_map]
pub static RECORDS: HashOfMaps<
    u32,
    RingBuf<u8, { limits::RECORD_RING_BYTES as usize }>,
    { limits::RECORDINGS as usize },
> = HashOfMaps::new();
