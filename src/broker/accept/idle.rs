//! The idle connections of one socket, counted by the process that made each: where one has to be closed to
//! make room, it is one of those who have most. One whose process has ended goes before the others of its
//! user, because a process for each connection would make each the only one of its process.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The process that made a connection, and its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionOwner {
    pub(super) user: u32,
    pub(super) process: i32,
}

/// The numbers of a socket's idle connections; an earlier one is idle for longer.
#[derive(Debug, Default)]
pub(super) struct IdleConnections {
    of_owner: BTreeMap<ConnectionOwner, BTreeSet<u64>>,
    of_user: BTreeMap<u32, usize>,
    count: usize,
}

impl IdleConnections {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn add(&mut self, owner: ConnectionOwner, number: u64) {
        self.of_owner.entry(owner).or_default().insert(number);
        *self.of_user.entry(owner.user).or_default() += 1;
        self.count += 1;
    }

    pub(super) fn remove(&mut self, owner: ConnectionOwner, number: u64) {
        let Some(numbers) = self.of_owner.get_mut(&owner) else { return };
        if !numbers.remove(&number) {
            return;
        }
        if numbers.is_empty() {
            self.of_owner.remove(&owner);
        }
        self.count -= 1;
        if let Some(count) = self.of_user.get_mut(&owner.user) {
            *count -= 1;
        }
        self.of_user.retain(|_, count| *count > 0);
    }

    /// The connection to close where there are too many: of the user with most, the one that is idle for
    /// longest of those whose processes have ended, and where there is none, of the process with most.
    pub(super) fn first_to_go(&self, is_there: impl Fn(i32) -> bool) -> Option<u64> {
        let most = self.of_user.values().max()?;
        let of_user =
            || self.of_owner.iter().filter(|(owner, _)| self.of_user.get(&owner.user) == Some(most));
        let ended = of_user().filter(|(owner, _)| !is_there(owner.process));
        if let Some(number) = ended.filter_map(|(_, numbers)| numbers.first()).min() {
            return Some(*number);
        }
        let (_, numbers) =
            of_user().max_by_key(|(_, numbers)| (numbers.len(), Reverse(numbers.first().copied())))?;
        numbers.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order in which these connections go, each of a user and a process, with its number.
    fn order(connections: &[(u32, i32, u64)]) -> Vec<u64> {
        let mut idle = IdleConnections::default();
        let owner = |user, process| ConnectionOwner { user, process };
        connections.iter().for_each(|&(user, process, number)| idle.add(owner(user, process), number));
        let next = || {
            let first = idle.first_to_go(|process| process < 100)?;
            let &(user, process, _) = connections.iter().find(|(.., number)| *number == first)?;
            idle.remove(owner(user, process), first);
            Some(first)
        };
        let order = std::iter::from_fn(next).collect();
        assert_eq!((idle.len(), idle.of_owner.len(), idle.of_user.len()), (0, 0, 0));
        order
    }

    #[test]
    fn of_one_process_the_longest_idle_goes_first() {
        assert_eq!(order(&[(1, 10, 3), (1, 10, 1), (1, 10, 2)]), [1, 2, 3]);
    }

    #[test]
    fn who_has_few_keeps_them_however_long_they_are_idle() {
        assert_eq!(order(&[(1, 10, 0), (1, 11, 1), (1, 11, 2), (1, 11, 3)]), [1, 2, 0, 3]);
    }

    #[test]
    fn of_processes_that_have_ended_the_longest_idle_goes_first() {
        assert_eq!(order(&[(1, 10, 0), (1, 11, 1), (1, 101, 3), (1, 100, 2), (1, 11, 4)]), [2, 3, 1, 0, 4]);
    }

    #[test]
    fn another_user_keeps_what_processes_made_that_have_ended() {
        assert_eq!(order(&[(1, 100, 0), (2, 20, 1), (2, 21, 2)]), [1, 0, 2]);
    }

    #[test]
    fn many_processes_of_one_user_count_together() {
        assert_eq!(order(&[(1, 10, 0), (1, 10, 1), (2, 20, 2), (2, 21, 3), (2, 22, 4)]), [2, 0, 3, 1, 4]);
    }
}
