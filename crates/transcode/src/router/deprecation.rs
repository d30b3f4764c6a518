//! What callers of something deprecated are told, from the options of its RPC.

use prost_reflect::MethodDescriptor;

use crate::{
    options,
    pb::option::{DeprecatedBinding, Edge},
    time,
};

/// What callers of something deprecated are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deprecation {
    /// When it was deprecated, in seconds since 1970.
    pub since_secs: i64,
    /// When it may be gone, in seconds since 1970; none while that is open.
    pub sunset_secs: Option<i64>,
    /// The path to move to.
    pub successor: Option<String>,
}

impl Deprecation {
    /// That of a whole RPC, by whatever protocol it is called.
    #[must_use]
    pub fn of_rpc(method: &MethodDescriptor) -> Option<Self> {
        whole(method, &options::edge(method).unwrap_or_default()).ok().flatten()
    }
}

/// That of a whole RPC, if its options agree.
pub(super) fn whole(method: &MethodDescriptor, edge: &Edge) -> Result<Option<Deprecation>, String> {
    let marked = method.options().get_field_by_name("deprecated").is_some_and(|v| v.as_bool() == Some(true));
    let stated = stated(edge, "");
    match (marked, stated) {
        (true, None) => Err("it is deprecated, so a deprecated binding without a path must say since when".into()),
        (false, Some(_)) => Err("a deprecated binding without a path, but the RPC is not marked deprecated".into()),
        (_, stated) => stated.map(read).transpose(),
    }
}

/// That of one binding.
pub(super) fn of_binding(edge: &Edge, path: &str) -> Result<Option<Deprecation>, String> {
    stated(edge, path).map(read).transpose()
}

fn stated<'e>(edge: &'e Edge, path: &str) -> Option<&'e DeprecatedBinding> {
    edge.deprecated_bindings.iter().find(|deprecated| deprecated.path == path)
}

fn read(stated: &DeprecatedBinding) -> Result<Deprecation, String> {
    let date = |name: &str, date: &str| {
        let midnight = time::parse_timestamp(&format!("{date}T00:00:00Z"));
        midnight.map(|(secs, _)| secs).ok_or_else(|| {
            format!("`{name}` of the deprecated binding `{}` must be a date, as 2026-11-21", stated.path)
        })
    };
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    Ok(Deprecation {
        since_secs: date("since", &stated.since)?,
        sunset_secs: some(&stated.sunset).map(|text| date("sunset", &text)).transpose()?,
        successor: some(&stated.successor),
    })
}
