//! `google.api.http` on descriptors: templates, matcher, ProtoJSON, OpenAPI. No I/O.

pub mod descriptor;
pub mod pb;
