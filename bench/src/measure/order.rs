//! Whether messages arrive in order: each sender's in the order of sending, and all of a ticket in one order for
//! everybody.

use std::collections::HashMap;

use super::message::Tag;

/// What one member of a ticket saw.
#[derive(Clone, Default, Debug)]
pub(crate) struct Order {
    last: HashMap<u32, u64>,
    /// How many messages came after a later one of the same sender.
    pub inversions: u64,
    /// How many came.
    pub count: u64,
    /// Stands for the whole order.
    whole: u64,
}

impl Order {
    /// A message arrived.
    pub(crate) fn saw(&mut self, tag: Tag) {
        let last = self.last.entry(tag.sender).or_default();
        if tag.number < *last {
            self.inversions += 1;
        }
        *last = tag.number.max(*last);
        self.count += 1;
        let one = u64::from(tag.sender) << 40 ^ tag.number;
        self.whole = (self.whole ^ one)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(7);
    }

    /// Whether both saw the same messages in the same order.
    pub(crate) fn same(&self, other: &Self) -> bool {
        (self.count, self.whole) == (other.count, other.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(seen: &[(u32, u64)]) -> Order {
        let mut order = Order::default();
        for (sender, number) in seen {
            order.saw(Tag {
                sender: *sender,
                number: *number,
                at: 0,
            });
        }
        order
    }

    #[test]
    fn inversions_count_per_sender() {
        assert_eq!(order(&[(0, 1), (1, 1), (0, 2), (1, 2)]).inversions, 0);
        assert_eq!(order(&[(0, 2), (0, 1), (0, 3)]).inversions, 1);
        assert_eq!(order(&[(0, 3), (0, 1), (0, 2)]).inversions, 2);
    }

    #[test]
    fn two_orders_are_the_same_only_as_a_whole() {
        let one = order(&[(0, 1), (1, 1), (0, 2)]);
        assert!(one.same(&order(&[(0, 1), (1, 1), (0, 2)])));
        assert!(!one.same(&order(&[(1, 1), (0, 1), (0, 2)])));
        assert!(!one.same(&order(&[(0, 1), (1, 1)])));
    }
}
