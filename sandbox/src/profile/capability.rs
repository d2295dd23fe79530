//! The names of Linux capabilities.

/// Every capability of include/uapi/linux/capability.h as of 6.18, in lower case without `cap_`.
pub const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The capability that `text` names in any case, with or without `cap_`.
///
/// # Errors
///
/// The capability with the nearest name, if one is near.
pub fn named(text: &str) -> Result<&'static str, Option<&'static str>> {
    let lower = text.to_ascii_lowercase();
    let name = lower.strip_prefix("cap_").unwrap_or(&lower);
    match NAMES.iter().find(|known| **known == name) {
        Some(known) => Ok(known),
        None => Err(super::nearest(name, NAMES.into_iter())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_in_any_case_with_or_without_its_prefix() {
        assert_eq!(named("CAP_NET_RAW"), Ok("net_raw"));
        assert_eq!(named("net_raw"), Ok("net_raw"));
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest() {
        assert_eq!(named("net_rwa"), Err(Some("net_raw")));
        assert_eq!(named("everything"), Err(None));
    }
}
