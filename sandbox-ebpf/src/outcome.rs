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
