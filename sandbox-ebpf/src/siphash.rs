//! SipHash-1-3 (Aumasson and Bernstein, 2012) over bytes of a slot, under a key that the loader draws: what is recorded
//! must not be able to hide one path behind another.

use aya_ebpf::{cty::c_void, helpers::generated::bpf_loop};

use crate::{
    outcome::Outcome,
    scratch::{PATH_END, Path},
    walk::bounded,
};

/// Set by the loader to random numbers.
#[unsafe(no_mangle)]
pub static HASH_KEY: [u64; 2] = [0x7269_6e67_6665_6e63, 0x6563_6e65_6667_6e69];

/// Bytes of one round of the loop.
const WORDS_A_ROUND: u32 = 8;
const ROUNDS: u32 = (2 * PATH_END) as u32 / (8 * WORDS_A_ROUND) + 1;
/// Both halves of a path's buffer.
const BUFFER_MASK: u64 = 2 * PATH_END as u64 - 1;

/// A hash that is being computed. It lies in a slot, not on the stack: what the verifier can follow there it does follow,
/// and Linux 7.3 gives up after a million steps.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
    position: u32,
    end: u32,
}

/// What a round of the loop gets.
struct Context {
    path: *mut Path,
}

/// The hash of `path.bytes[start..end]`.
#[inline(always)]
pub fn of(path: *mut Path, start: u32, end: u32) -> Result<u64, Outcome> {
    begin(path, start, end);
    // SAFETY: the callback gets the address of a value on this frame's stack.
    unsafe {
        let mut context = Context { path };
        bpf_loop(
            ROUNDS,
            round as *const () as *mut c_void,
            (&raw mut context).cast::<c_void>(),
            0,
        );
    }
    // SAFETY: `path` is in a map value.
    let mut state = unsafe { core::ptr::read_volatile(&raw const (*path).hash) };
    let left = state.end.wrapping_sub(state.position);
    if left >= 8 {
        return Err(Outcome::INTERNAL);
    }
    let mut last = 0;
    if left > 0 {
        last = word(path, state.position) & (u64::MAX >> (64 - 8 * left));
    }
    state.take(last | u64::from(end - start) << 56);
    state.v2 ^= 0xff;
    state.mix();
    state.mix();
    state.mix();
    Ok(state.v0 ^ state.v1 ^ state.v2 ^ state.v3)
}

#[inline(always)]
fn begin(path: *mut Path, start: u32, end: u32) {
    // SAFETY: statics of this object, read as volatile because the loader writes them; `path` is in a map value.
    unsafe {
        let k0 = core::ptr::read_volatile(&raw const HASH_KEY[0]);
        let k1 = core::ptr::read_volatile(&raw const HASH_KEY[1]);
        let state = State {
            v0: k0 ^ 0x736f_6d65_7073_6575,
            v1: k1 ^ 0x646f_7261_6e64_6f6d,
            v2: k0 ^ 0x6c79_6765_6e65_7261,
            v3: k1 ^ 0x7465_6462_7974_6573,
            position: start,
            end,
        };
        core::ptr::write_volatile(&raw mut (*path).hash, state);
    }
}

/// Up to [`WORDS_A_ROUND`] words; returns 1 when less than a word is left.
extern "C" fn round(_index: u64, context: *mut Context) -> i64 {
    // SAFETY: `context` is the one that `of` passed, and its path is in a map value.
    unsafe {
        let path = (*context).path;
        let mut state = core::ptr::read_volatile(&raw const (*path).hash);
        let mut left = WORDS_A_ROUND;
        while left > 0 && state.position + 8 <= state.end {
            state.take(word(path, state.position));
            state.position += 8;
            left -= 1;
        }
        core::ptr::write_volatile(&raw mut (*path).hash, state);
        i64::from(left > 0)
    }
}

/// Eight bytes, wherever they begin. In assembly, because this target's compiler would load byte by byte; the verifier
/// takes unaligned access to map values on x86-64 and arm64 (`CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS`).
#[inline(always)]
fn word(path: *const Path, position: u32) -> u64 {
    let at = bounded!(u64::from(position), BUFFER_MASK);
    let found: u64;
    // SAFETY: more than eight bytes of the same map value follow each of the two buffers.
    unsafe {
        let address = (&raw const (*path).bytes).cast::<u8>().add(at as usize);
        core::arch::asm!("{0} = *(u64 *)({1} + 0)", out(reg) found, in(reg) address, options(readonly, nostack));
    }
    found
}

impl State {
    #[inline(always)]
    fn take(&mut self, word: u64) {
        self.v3 ^= word;
        self.mix();
        self.v0 ^= word;
    }

    /// One SipRound.
    #[inline(always)]
    fn mix(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }
}
