//! What a path may be used for: one bit each, as the automaton's accept states carry them.

/// Open for reading, list a directory, read a symbolic link or an extended attribute.
pub const READ: u8 = 1;
/// Open for writing, create, remove, rename, link, truncate, and change of mode, owner, times or attributes.
pub const WRITE: u8 = 2;
/// Execute, or map as executable code (programs, interpreters, shared libraries).
pub const EXEC: u8 = 4;
/// Every right.
pub const ALL: u8 = READ | WRITE | EXEC;
