//! Where the running kernel keeps what the programs read: offsets looked up in its BTF and set as read-only globals
//! before the programs are loaded, so that the verifier sees constants.
