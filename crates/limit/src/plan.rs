//! The windows of each RPC, read from the descriptors once.

use std::{collections::HashMap, num::NonZeroU32, time::Duration};

use coreloop_transcode::{options, pb::option::LimitSubject};
use prost_reflect::DescriptorPool;

use crate::Options;

/// One sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) max: NonZeroU32,
    pub(crate) per: Duration,
}

impl Window {
    pub(crate) fn new(max: u32, per: Duration, scale: f64) -> Option<Self> {
        // A limit is never scaled away: at least one call fits.
        let scaled = (f64::from(max) * scale).round().clamp(1.0, f64::from(u32::MAX)) as u32;
        let max = NonZeroU32::new(if max == 0 { 0 } else { scaled })?;
        (!per.is_zero()).then_some(Self { max, per })
    }
}

/// The limits of one RPC.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Name in keys, as `auth.v1.AuthService.Login`.
    pub(crate) name: String,
    /// Declared windows; empty when it has none of its own.
    pub(crate) windows: Vec<Window>,
    /// The address is counted even when a user is signed in.
    pub(crate) by_address: bool,
    /// The anonymous budget does not apply: only the mesh calls it, or it says so (`exempt`).
    pub(crate) unbudgeted: bool,
}

/// Every RPC of ours, by gRPC path. What is not here (health, reflection, ext_authz) is not limited.
pub(crate) fn endpoints(pool: &DescriptorPool, settings: &Options) -> HashMap<String, Endpoint> {
    let mut endpoints = HashMap::new();
    for service in pool.services().filter(|service| service.full_name().starts_with("coreloop.")) {
        for method in service.methods() {
            let limit = options::rate_limit(&method).unwrap_or_default();
            let windows = limit.windows.iter().filter_map(|window| {
                let per = window.per.and_then(|per| Duration::try_from(per).ok())?;
                Window::new(window.max, per, settings.scale)
            });
            let short = service.full_name().trim_start_matches("coreloop.");
            let endpoint = Endpoint {
                name: format!("{short}.{}", method.name()),
                windows: windows.collect(),
                by_address: limit.subject == LimitSubject::Ip as i32,
                unbudgeted: limit.exempt || options::access(&method).is_some_and(|access| access.mesh_only),
            };
            endpoints.insert(format!("/{}/{}", service.full_name(), method.name()), endpoint);
        }
    }
    endpoints
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn windows_come_from_the_descriptors() {
        let endpoints =
            endpoints(coreloop_transcode::descriptor::pool(), &Options { scale: 2.0, ..Options::default() });
        let login = &endpoints["/coreloop.auth.v1.AuthService/Login"];
        assert_eq!(login.name, "auth.v1.AuthService.Login");
        assert!(login.by_address && !login.unbudgeted);
        let declared: Vec<_> = login.windows.iter().map(|window| (window.max.get(), window.per.as_secs())).collect();
        assert_eq!(declared, [(20, 60), (200, 3_600)]);
        assert!(endpoints["/coreloop.auth.v1.AuthInternalService/MintInternalToken"].unbudgeted);
        assert!(endpoints["/coreloop.edge.v1.EdgeService/GetReadiness"].unbudgeted);
    }

    #[test]
    fn every_declared_window_has_a_limit_and_a_length() {
        let pool = coreloop_transcode::descriptor::pool();
        let read = endpoints(pool, &Options::default());
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let Some(limit) = options::rate_limit(&method) else { continue };
            let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
            assert_eq!(read[&path].windows.len(), limit.windows.len(), "{path}");
            assert!(limit.exempt == limit.windows.is_empty(), "{path} states windows, or that it needs none");
        }
    }

    #[test]
    fn a_limit_is_never_scaled_away() {
        assert_eq!(Window::new(5, Duration::from_secs(1), 0.01).unwrap().max.get(), 1);
        assert_eq!(Window::new(0, Duration::from_secs(1), 5.0), None);
        assert_eq!(Window::new(5, Duration::ZERO, 1.0), None);
    }
}
