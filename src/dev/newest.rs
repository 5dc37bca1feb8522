//! A store that forgets: what strangers may have kept for them is bounded.

use std::collections::{HashMap, VecDeque};

/// The values stored last, by name. The oldest goes where there are too many.
#[derive(Debug)]
pub(super) struct Newest<V> {
    values: HashMap<String, V>,
    /// The names, oldest first.
    order: VecDeque<String>,
}

impl<V> Newest<V> {
    /// How many are kept.
    pub(super) const MOST: usize = 1000;

    /// Creates a store with nothing in it.
    pub(super) fn new() -> Self {
        Self { values: HashMap::new(), order: VecDeque::new() }
    }

    /// Stores a value under a name that is not taken.
    pub(super) fn add(&mut self, name: String, value: V) {
        if self.order.len() >= Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
        self.order.push_back(name.clone());
        self.values.insert(name, value);
    }

    /// Takes a value out.
    pub(super) fn take(&mut self, name: &str) -> Option<V> {
        let value = self.values.remove(name)?;
        self.order.retain(|own| own != name);
        Some(value)
    }

    pub(super) fn get(&self, name: &str) -> Option<&V> {
        self.values.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        self.values.get_mut(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_where_there_are_too_many() {
        let mut store = Newest::new();
        for number in 0..=Newest::<usize>::MOST {
            store.add(number.to_string(), number);
        }
        let last = Newest::<usize>::MOST;
        for (name, want) in [("0", None), ("1", Some(1)), (&*last.to_string(), Some(last))] {
            assert_eq!(store.get(name).copied(), want, "{name}");
        }

        assert_eq!((store.take("1"), store.take("1")), (Some(1), None));
        store.add("another".to_owned(), 0);
        assert_eq!(store.get("2"), Some(&2), "a place was free");
    }
}
