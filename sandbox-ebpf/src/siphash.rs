//! SipHash-1-3 (Aumasson and Bernstein, 2012) over bytes of a slot, under a key that the loader draws: what is recorded
//! must not be able to hide one path behind another.

use aya_ebpf::{cty::c_void, helpers::generated::bpf_loop};

use crate::{outcome::Outcome, scratch::PATH_END, walk::bounded};

/// Set by the loader to random numbers.
#[unsafe(no_mangle)]
pub static HASH_KEY: [u64; 2] = [0x7269_6e67_6665_6e63, 0x6563_6e65_6667_6e69];

/// Bytes of one round of the loop.
const WORDS_A_ROUND: u32 = 8;
const ROUNDS: u32 = (2 * PATH_END) as u32 / (8 * WORDS_A_ROUND) + 1;
/// Both halves of a path's buffer.
const BUFFER_MASK: u64 = 2 * PATH_END as u64 - 1;

struct Hash {
    bytes: *const u8,
    position: u32,
    end: u32,
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

/// The hash of `bytes[start..end]`, where `bytes` is the buffer of a [`crate::scratch::Path`].
#[inline(always)]
pub fn of(bytes: *const u8, start: u32, end: u32) -> Result<u64, Outcome> {
    // SAFETY (twice): a static of this object, read as volatile because the loader writes it.
    let k0 = unsafe { core::ptr::read_volatile(&raw const HASH_KEY[0]) };
    let k1 = unsafe { core::ptr::read_volatile(&raw const HASH_KEY[1]) };
    let mut hash = Hash {
        bytes,
        position: start,
        end,
        v0: k0 ^ 0x736f_6d65_7073_6575,
        v1: k1 ^ 0x646f_7261_6e64_6f6d,
        v2: k0 ^ 0x6c79_6765_6e65_7261,
        v3: k1 ^ 0x7465_6462_7974_6573,
    };
    // SAFETY: the callback gets the address of a value on this frame's stack.
    unsafe {
        bpf_loop(
            ROUNDS,
            round as *const () as *mut c_void,
            (&raw mut hash).cast::<c_void>(),
            0,
        );
    }
    let left = hash.end.wrapping_sub(hash.position);
    if left >= 8 {
        return Err(Outcome::INTERNAL);
    }
    let mut last = 0;
    if left > 0 {
        last = word(bytes, hash.position) & (u64::MAX >> (64 - 8 * left));
    }
    hash.take(last | u64::from(end - start) << 56);
    hash.v2 ^= 0xff;
    hash.mix();
    hash.mix();
    hash.mix();
    Ok(hash.v0 ^ hash.v1 ^ hash.v2 ^ hash.v3)
}

/// Up to [`WORDS_A_ROUND`] words; returns 1 when less than a word is left.
extern "C" fn round(_index: u64, hash: *mut Hash) -> i64 {
    // SAFETY: `hash` is the one that `of` passed.
    let hash = unsafe { &mut *hash };
    let mut left = WORDS_A_ROUND;
    while left > 0 {
        if hash.position + 8 > hash.end {
            return 1;
        }
        let next = word(hash.bytes, hash.position);
        hash.take(next);
        hash.position += 8;
        left -= 1;
    }
    0
}

/// Eight bytes, wherever they begin. In assembly, because this target's compiler would load byte by byte; the verifier
/// takes unaligned access to map values on x86-64 and arm64 (`CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS`).
#[inline(always)]
fn word(bytes: *const u8, position: u32) -> u64 {
    let at = bounded(u64::from(position), BUFFER_MASK);
    let found: u64;
    // SAFETY: more than eight bytes of the same map value follow each of the two buffers.
    unsafe {
        let address = bytes.add(at as usize);
        core::arch::asm!("{0} = *(u64 *)({1} + 0)", out(reg) found, in(reg) address, options(readonly, nostack));
    }
    found
}

impl Hash {
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
