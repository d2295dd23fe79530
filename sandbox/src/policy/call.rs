//! System calls that are closed, in a form that every builder of filters can take.

/// One system call that a fence closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedCall {
    /// The kernel's name.
    pub name: &'static str,
    /// The caller is told this.
    pub errno: i32,
    /// The argument, from 0, that decides, and what it must be; closed whatever the arguments if `None`.
    pub when: Option<(u32, Argument)>,
}

/// Which values of an argument are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Those of which these bits are this.
    Masked {
        /// Bits that are looked at.
        mask: u64,
        /// What they are.
        value: u64,
    },
    /// All but this one.
    AllBut(u64),
}
