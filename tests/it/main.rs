//! The tests that see more than one room at once, linked once.

mod corpus;
