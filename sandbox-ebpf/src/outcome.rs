//! Why something is denied: one small type in place of an error enum, because what leaves a function must be a plain
//! integer for the verifier and for the event.

use ringfence_abi::event::cause;

/// A reason to deny: one of [`cause`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Outcome(pub u8);

impl Outcome {
    /// The fence itself failed.
    pub const INTERNAL: Self = Self(cause::INTERNAL);
}

/// Whether something is allowed: yes, or the reason to deny.
///
/// VERIFIER: "R2 !read_ok" where a `Result` leaves one branch without its value: this is written whole in every one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Answer(u32);

impl Answer {
    /// Allowed.
    pub const YES: Self = Self(0);
    /// No rule allows it, or one denies it.
    pub const NO: Self = Self(cause::RULE as u32);

    /// Yes if `allowed`.
    #[inline(always)]
    pub fn of(allowed: bool) -> Self {
        if allowed { Self::YES } else { Self::NO }
    }

    /// Denied because it could not be found out.
    #[inline(always)]
    pub fn failed(outcome: Outcome) -> Self {
        Self(u32::from(outcome.0))
    }

    /// The reason to deny, one of [`cause`]; 0 for none.
    #[inline(always)]
    pub fn cause(self) -> u8 {
        self.0 as u8
    }
}
