//! What the launcher is told: one file, written by the confine room and read in the container. Both sides compile this.
//!
//! Numbers are 64 bits wide in the machine's order. After the header come the rules, `access, length, path` with a NUL at the
//! path's end, and then the filters, `length, instructions`; lengths are in bytes, and nothing is padded.

/// The first number of a file of this form; its last digits are the form's version.
pub(crate) const MAGIC: u64 = 0x7269_6e67_0000_0001;

/// A file that was read; what follows the header is read piece by piece.
pub(crate) struct Plan<'a> {
    /// Access rights of the file system that a domain handles (`struct landlock_ruleset_attr`).
    pub(crate) handled: u64,
    /// What it scopes.
    pub(crate) scoped: u64,
    /// Bytes of that structure that this kernel knows.
    pub(crate) attribute_bytes: u64,
    rules: u64,
    filters: u64,
    rest: &'a [u8],
}

impl<'a> Plan<'a> {
    /// `None` if these bytes are none.
    pub(crate) fn read(mut bytes: &'a [u8]) -> Option<Self> {
        if number(&mut bytes)? != MAGIC {
            return None;
        }
        Some(Self {
            handled: number(&mut bytes)?,
            scoped: number(&mut bytes)?,
            attribute_bytes: number(&mut bytes)?,
            rules: number(&mut bytes)?,
            filters: number(&mut bytes)?,
            rest: bytes,
        })
    }

    /// The next rule: its access rights, and a path with a NUL at its end. `Some(None)` when there is no further one, `None`
    /// if the file is broken.
    pub(crate) fn next_rule(&mut self) -> Option<Option<(u64, &'a [u8])>> {
        let Some(left) = self.rules.checked_sub(1) else {
            return Some(None);
        };
        self.rules = left;
        let access = number(&mut self.rest)?;
        let path = piece(&mut self.rest)?;
        (path.last() == Some(&0)).then_some(Some((access, path)))
    }

    /// The next filter's instructions, when every rule has been read; as [`Plan::next_rule`].
    pub(crate) fn next_filter(&mut self) -> Option<Option<&'a [u8]>> {
        let Some(left) = self.filters.checked_sub(1) else {
            return self.rest.is_empty().then_some(None);
        };
        self.filters = left;
        piece(&mut self.rest).map(Some)
    }
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_ne_bytes(*first))
}

fn piece<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(bytes)?).ok()?;
    let (piece, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(piece)
}
