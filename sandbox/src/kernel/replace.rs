//! Another policy in the place of the one that a fence has, while its tasks run.
//!
//! A table is never written into while a task can look into it: the new one is filled first, and then takes its place in the map of
//! tables. Programs that look it up find the old one or the new one, whole (kernel/bpf/hashtab.c, 6.12: `htab_map_update_elem` puts the
//! new element in front of the old one before it takes that away), and whoever changed the entry goes on when the last program that
//! found the old one has ended (kernel/bpf/syscall.c: `maybe_wait_bpf_programs`). Each program of a profile has a table of its
//! own, so that they change one after the other.

use aya::maps::MapData;

use super::{
    Engine, Error, Fence, attach,
    engine::Role,
    names,
    pins::Pins,
    slots,
    table::{self, Table},
};
use crate::policy::Policy;

impl Fence {
    /// Puts `new` in the place of `old`, which is in force: for tasks that run as for those that start. The programs of both must be the
    /// same, and neither has rules about names where those about the network differ.
    ///
    /// # Errors
    /// Where `new` needs what a fence that stands cannot be given, or a map cannot be written: `old` is in force then. But for
    /// [`Error::Torn`].
    pub fn replace(&self, engine: &mut Engine, old: &Policy, new: &Policy) -> Result<(), Error> {
        let role = engine.role;
        let tables = |policy| match role {
            Role::Judge => table::all_in(policy, &self.classes),
            Role::Watch => table::of_the_network_in(policy, &self.classes),
        };
        let (before, after) = (tables(old)?, tables(new)?);
        if !attach::same(role, old, new) {
            return Err(Error::Fixed(
                "which programs stand on its cgroup was settled when it started",
            ));
        }
        let _turn = Pins::turn()?;
        engine.unless_removed()?;
        // What can fail for want of memory comes before anything is changed.
        let made: Vec<MapData> = after.iter().map(slots::made).collect::<Result<_, _>>()?;
        let programs = (0..).zip(after.iter().zip(&made));
        for (program, (table, map)) in programs {
            if let Err(error) = slots::put(engine, (self.id, program), table, map) {
                return Err(self.put_back(engine, &before, program, error));
            }
        }
        // Peers of datagrams that the old one let pass.
        names::forget_flows(&mut engine.maps.flows, self.id)
    }

    /// Puts back the tables up to that of `last`, where `error` happened.
    fn put_back(&self, engine: &mut Engine, before: &[Table], last: u8, error: Error) -> Error {
        for (program, table) in (0..=last).zip(before) {
            let done = slots::made(table)
                .and_then(|map| slots::put(engine, (self.id, program), table, &map));
            if done.is_err() {
                return Error::Torn(error.to_string());
            }
        }
        error
    }
}
