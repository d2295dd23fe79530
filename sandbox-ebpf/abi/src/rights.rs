//! What a path may be used for: one bit each, as the automaton's accept states carry them; above them, the number of
//! the program that an exec of the path enters.

/// Open for reading, list a directory, read a symbolic link or an extended attribute.
pub const READ: u8 = 1;
/// Open for writing, create, remove, rename, link, truncate, and change of mode, owner, times or attributes.
pub const WRITE: u8 = 2;
/// Execute, or map as executable code (programs, interpreters, shared libraries).
pub const EXEC: u8 = 4;
/// Every right.
pub const ALL: u8 = READ | WRITE | EXEC;
/// Programs with rights of their own that one profile can have: as many as the bits above the rights can number.
pub const PROGRAMS: u8 = 31;

/// The number of the program whose rights apply after an exec of this path, or 0 if it has none of its own.
#[must_use]
pub const fn program(accept: u8) -> u8 {
    accept >> 3
}
