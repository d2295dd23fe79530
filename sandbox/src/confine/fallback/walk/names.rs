//! Which names lead to a right that is not granted yet.

use ringfence_abi::rights::READ;

use super::Walk;
use crate::confine::fallback::found::LIST;

impl Walk<'_> {
    /// The names that lead from `inside` to a right not granted yet, if they are few: literal rules then cost no
    /// listing of the directories that they stand in.
    pub(super) fn names(&self, inside: u32, granted: u8) -> Option<Vec<Vec<u8>>> {
        self.names_beginning(|_| true, inside, granted)
    }

    /// The same of names whose first byte is one for which `begins` holds.
    pub(super) fn names_beginning(
        &self,
        begins: impl Fn(u8) -> bool,
        inside: u32,
        granted: u8,
    ) -> Option<Vec<Vec<u8>>> {
        let leads = |state| {
            let deeper = self.reach.step(state, b"/");
            self.leads_to(deeper, state) & !granted != 0
        };
        let may_lead = |state| {
            let below = self.reach.ahead(state);
            (below.any | self.reach.rights(state) | self.list(state)) & !granted != 0
        };
        self.reach.names_beginning(begins, inside, leads, may_lead)
    }

    /// Whether a name that a process could have leads from `inside` to a right not granted yet.
    pub(super) fn leads_to_tasks(&self, inside: u32, granted: u8) -> bool {
        (b'0'..=b'9').any(|digit| {
            let state = self.reach.step(inside, &[digit]);
            (self.reach.ahead(state).any | self.reach.rights(state)) & !granted != 0
        })
    }

    /// Rights of a path and of everything below it.
    pub(super) fn leads_to(&self, deeper: u32, own: u32) -> u8 {
        let rights = self.reach.rights(own) | self.reach.ahead(deeper).any;
        if rights & READ == 0 {
            rights
        } else {
            rights | LIST
        }
    }

    /// Whether reading is somewhere ahead, which for a directory would be listing.
    pub(super) fn list(&self, state: u32) -> u8 {
        let ahead = self.reach.rights(state) | self.reach.ahead(state).any;
        if ahead & READ == 0 { 0 } else { LIST }
    }
}
