//! The examples of the README, as tests of documentation. They are here because no crate that is published may include a
//! file outside its folder.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
