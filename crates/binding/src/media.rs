//! Media functions.
