//! Where the running kernel keeps what the programs read: offsets looked up in its BTF and set as read-only globals
//! before the programs are loaded, so that the verifier sees constants.
//!
//! The list below is the single place that names kernel members: the kernel half reads the fields of [`Layout`], the
//! user half fills them by walking [`MEMBERS`].

/// Offset of a member that this kernel does not have. Only members marked `optional` may be absent.
pub const ABSENT: u32 = u32::MAX;

/// One member of a kernel structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The structure's name in BTF.
    pub structure: &'static str,
    /// The member, possibly inside anonymous structures; nested members are separated by a dot.
    pub member: &'static str,
    /// Whether a kernel without it is acceptable.
    pub optional: bool,
}

macro_rules! layout {
    ($($kind:ident $field:ident = $structure:literal $member:literal;)*) => {
        /// Byte offsets of structure members in the running kernel.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Layout {
            $(#[doc = concat!("`", $structure, ".", $member, "`")] pub $field: u32,)*
        }

        /// What to look up, in the order of [`Layout`]'s fields.
        pub const MEMBERS: &[Member] = &[
            $(Member { structure: $structure, member: $member, optional: layout!(@$kind) },)*
        ];

        impl Layout {
            /// A layout in which everything is absent: what the object holds before it is patched.
            pub const UNKNOWN: Self = Self { $($field: ABSENT,)* };

            /// A layout from offsets in the order of [`MEMBERS`].
            #[must_use]
            pub const fn from_offsets(offsets: &[u32; MEMBERS.len()]) -> Self {
                let mut index = 0;
                $(let $field = offsets[index]; index += 1;)*
                assert!(index == MEMBERS.len());
                Self { $($field,)* }
            }
        }
    };
    (@required) => { false };
    (@optional) => { true };
}

layout! {
    required file_path = "file" "f_path";
    required file_flags = "file" "f_flags";
    required file_mode = "file" "f_mode";
    required file_inode = "file" "f_inode";
    required file_private = "file" "private_data";
    required path_mount = "path" "mnt";
    required path_dentry = "path" "dentry";
    required dentry_parent = "dentry" "d_parent";
    required dentry_name = "dentry" "d_name";
    required dentry_inode = "dentry" "d_inode";
    required dentry_superblock = "dentry" "d_sb";
    optional dentry_inline = "dentry" "d_iname";
    optional dentry_short_name = "dentry" "d_shortname";
    required dentry_hash_pprev = "dentry" "d_hash.pprev";
    required name_length = "qstr" "len";
    required name_bytes = "qstr" "name";
    required inode_mode = "inode" "i_mode";
    required superblock_magic = "super_block" "s_magic";
    required superblock_flags = "super_block" "s_flags";
    required superblock_mounts = "super_block" "s_mounts";
    required mount_vfsmount = "mount" "mnt";
    required mount_parent = "mount" "mnt_parent";
    required mount_mountpoint = "mount" "mnt_mountpoint";
    required mount_namespace = "mount" "mnt_ns";
    optional mount_instance = "mount" "mnt_instance";
    optional mount_next = "mount" "mnt_next_for_sb";
    required vfsmount_root = "vfsmount" "mnt_root";
    required task_nsproxy = "task_struct" "nsproxy";
    required task_credentials = "task_struct" "cred";
    required task_real_credentials = "task_struct" "real_cred";
    required task_real_parent = "task_struct" "real_parent";
    required task_process = "task_struct" "tgid";
    required task_thread = "task_struct" "pid";
    required task_name = "task_struct" "comm";
    required nsproxy_mount_namespace = "nsproxy" "mnt_ns";
    optional namespace_root = "mnt_namespace" "root";
    optional sequence_number = "seqcount" "sequence";
    optional sequence_of_lock = "seqcount_spinlock" "seqcount";
    required program_file = "linux_binprm" "file";
    required area_file = "vm_area_struct" "vm_file";
    required attributes_valid = "iattr" "ia_valid";
    optional backing_user_path = "backing_file" "user_path";
    required unix_address = "unix_sock" "addr";
    required unix_path = "unix_sock" "path";
    required unix_address_length = "unix_address" "len";
    required unix_address_name = "unix_address" "name";
    required socket_sock = "socket" "sk";
    required sock_family = "sock" "__sk_common.skc_family";
    required sock_own_port = "sock" "__sk_common.skc_num";
    required sock_own_address4 = "sock" "__sk_common.skc_rcv_saddr";
    optional sock_own_address6 = "sock" "__sk_common.skc_v6_rcv_saddr";
    required sock_protocol = "sock" "sk_protocol";
    optional sock_cgroup = "sock" "sk_cgrp_data.cgroup";
    required cgroup_self = "cgroup" "self";
    required cgroup_node = "cgroup" "kn";
    required css_parent = "cgroup_subsys_state" "parent";
    required node_id = "kernfs_node" "id";
    required message_name = "msghdr" "msg_name";
    required message_name_length = "msghdr" "msg_namelen";
    required task_filesystem = "task_struct" "fs";
    required filesystem_directory = "fs_struct" "pwd";
    required task_files = "task_struct" "files";
    required files_table = "files_struct" "fdt";
    required table_size = "fdtable" "max_fds";
    required table_files = "fdtable" "fd";
    required task_leader = "task_struct" "group_leader";
    required task_pid = "task_struct" "thread_pid";
    required task_pid_links = "task_struct" "pid_links";
    required pid_level = "pid" "level";
    required pid_numbers = "pid" "numbers";
    required pid_tasks = "pid" "tasks";
    required process_file_pid = "proc_inode" "pid";
    required process_file_inode = "proc_inode" "vfs_inode";
    required file_owner = "file" "f_owner";
    required owner_pid = "fown_struct" "pid";
    optional owner_file = "fown_struct" "file";
    required program_unsafe = "linux_binprm" "unsafe";
    required namespace_level = "user_namespace" "level";
    optional registers_number = "pt_regs" "orig_ax";
    optional registers_first = "pt_regs" "di";
    optional registers_second = "pt_regs" "si";
    optional registers_third = "pt_regs" "dx";
    optional registers_fourth = "pt_regs" "r10";
    optional registers_fifth = "pt_regs" "r8";
    optional registers_sixth = "pt_regs" "r9";
    required filesystem_root = "fs_struct" "root";
    required task_memory = "task_struct" "mm";
    required memory_program = "mm_struct" "exe_file";
    required program_name = "linux_binprm" "filename";
    required program_interpreter = "linux_binprm" "interp";
    optional task_status = "task_struct" "thread_info.status";
    optional passed_address = "bpf_sock_addr_kern" "uaddr";
    optional passed_length = "bpf_sock_addr_kern" "uaddrlen";
}

const _: () = assert!(size_of::<Layout>() == 4 * MEMBERS.len());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_follow_the_order_of_the_members() {
        let mut offsets = [0; MEMBERS.len()];
        for (index, offset) in offsets.iter_mut().enumerate() {
            *offset = u32::try_from(index).unwrap();
        }
        let layout = Layout::from_offsets(&offsets);
        assert_eq!(MEMBERS[layout.file_path as usize].member, "f_path");
        assert_eq!(MEMBERS[layout.attributes_valid as usize].member, "ia_valid");
    }
}
