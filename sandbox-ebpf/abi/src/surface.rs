//! Parts of the kernel that are closed to a fence unless the profile's `[kernel] allow` opens them by name.

/// A set of surfaces: bit `n` is the surface numbered `n`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Surfaces(pub u32);

impl Surfaces {
    /// Everything is closed.
    pub const NONE: Self = Self(0);

    /// Whether all of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// One more than the number of the only surface in this set, as events carry it; 0 for none.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u8 {
        #[expect(clippy::cast_possible_truncation, reason = "at most 32")]
        let number = (u32::BITS - self.0.leading_zeros()) as u8;
        number
    }

    /// The surface that [`Surfaces::number`] gave this number.
    #[must_use]
    pub fn numbered(number: u8) -> Option<&'static Surface> {
        ALL.iter().find(|surface| surface.bit.number() == number)
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One surface, as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surface {
    /// The name that profiles use.
    pub name: &'static str,
    /// What is closed, in a few words.
    pub text: &'static str,
    /// Its bit.
    pub bit: Surfaces,
}

macro_rules! surfaces {
    ($($number:literal $constant:ident $name:literal $text:literal;)*) => {
        $(#[doc = concat!("`", $name, "`: ", $text)] pub const $constant: Surfaces = Surfaces(1 << $number);)*

        /// Every surface, in the order in which it is shown.
        pub const ALL: &[Surface] = &[
            $(Surface { name: $name, text: $text, bit: $constant },)*
        ];
    };
}

// The numbers are part of the border: append, never renumber.
surfaces! {
    0 BPF "bpf" "BPF programs and maps";
    1 PERF "perf" "performance events, which see other tasks and the kernel";
    2 PTRACE "ptrace" "tracing tasks outside the fence, and reading their memory and descriptors";
    3 SIGNALS "signals" "signals to tasks outside the fence";
    4 SCHEDULER "scheduler" "priority, scheduling, memory placement and limits of tasks outside the fence";
    5 USERNS "userns" "user namespaces, in which a task has capabilities again";
    6 NAMESPACES "namespaces" "the other namespaces: made by clone and unshare, entered by setns";
    7 MOUNT "mount" "mounting, unmounting and moving file systems, pivot_root";
    8 CHROOT "chroot" "another root directory";
    9 MODULES "modules" "kernel modules, loaded by a call or by asking for what they offer";
    10 KEXEC "kexec" "another kernel";
    11 SYSTEM "system" "reboot, swap, process accounting, host name, I/O ports";
    12 KEYRING "keyring" "keys and keyrings, which users share";
    13 IO_URING "io-uring" "system calls through a ring";
    14 USERFAULTFD "userfaultfd" "page faults served by a program";
    15 FILE_HANDLES "file-handles" "opening files by handle, past every path";
    16 IPC "ipc" "System V and POSIX IPC objects of tasks outside the fence";
    17 SYSLOG "syslog" "the kernel's log";
    18 CLOCK "clock" "setting the clock";
    19 QUOTA "quota" "disk quotas";
    20 TUN "tun" "network devices made by a program";
    21 TERMINAL_INPUT "terminal-input" "typing into the terminal for the user (TIOCSTI, TIOCLINUX)";
    22 CGROUP "cgroup" "changes in the cgroup file systems";
    23 KERNEL_FILES "kernel-files" "writing the kernel's settings: /proc/sys, /sys and the like";
    24 MEMORY_EXEC "memory-exec" "executing files that are only in memory or have been removed";
    25 NETLINK "netlink" "netlink sockets beside those for routes: device events, diagnosis, auditing, packet filters";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_surface_has_a_bit_and_a_name_of_its_own() {
        let mut seen = Surfaces::NONE;
        for (position, surface) in ALL.iter().enumerate() {
            assert_eq!(seen.0 & surface.bit.0, 0, "{}", surface.name);
            assert!(
                ALL[..position]
                    .iter()
                    .all(|other| other.name != surface.name)
            );
            seen = seen.union(surface.bit);
        }
    }

    #[test]
    fn a_number_leads_back_to_its_surface() {
        assert!(Surfaces::numbered(Surfaces::NONE.number()).is_none());
        for surface in ALL {
            let found = Surfaces::numbered(surface.bit.number());
            assert_eq!(found.map(|found| found.name), Some(surface.name));
        }
    }
}
