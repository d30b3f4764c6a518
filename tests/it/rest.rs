//! The conventions of the REST edge (chapter 07).

mod browsers;
mod conventions;
mod described;
mod errors;
mod limits;
