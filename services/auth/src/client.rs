//! Who is at the other end: address, user agent and device of a request.

use aws_lc_rs::digest;
use coreloop_access::address::ClientAddress;
use coreloop_service::Call;
use tonic::{Request, metadata::MetadataMap};

/// Longest user agent kept.
const USER_AGENT_MAX: usize = 512;

/// Facts of the client of one request. Untrusted but for the address, and bounded in size.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Client {
    /// Address; empty when it is not known.
    pub ip: String,
    /// `user-agent`, cut at 512 characters.
    pub user_agent: String,
    /// Stable id of the installation; empty when the client sends none.
    pub device_id: String,
    /// Shown name of the device.
    pub device_name: String,
    /// `x-request-id`.
    pub request_id: String,
    /// Trace id of the call (W3C).
    pub trace_id: String,
    /// Trace context of the call (W3C), for what it causes.
    #[serde(default)]
    pub traceparent: String,
}

impl Client {
    /// The facts of `request`, without a device.
    #[must_use]
    pub fn of<T>(request: &Request<T>) -> Self {
        let meta = request.metadata();
        let call = Call::current();
        // A REST call's own user agent comes beside that of the edge, which is a gRPC client.
        let agent = text(meta, "grpcgateway-user-agent").or_else(|| text(meta, "user-agent")).unwrap_or_default();
        Self {
            ip: ip(request),
            user_agent: cut(agent, USER_AGENT_MAX),
            device_id: String::new(),
            device_name: String::new(),
            request_id: call
                .as_ref()
                .and_then(|call| call.request_id.to_str().ok())
                .map(|id| cut(id, 128))
                .unwrap_or_default(),
            trace_id: call.as_ref().map(|call| call.trace.trace_id_hex()).unwrap_or_default(),
            traceparent: call.as_ref().map(|call| call.trace.header()).unwrap_or_default(),
        }
    }

    /// The same, with the device the request body names.
    #[must_use]
    pub fn with_device(mut self, id: &str, name: &str) -> Self {
        self.device_id = cut(id, 128);
        self.device_name = cut(name, 100);
        self
    }

    /// Tells the device of a refresh apart: its id, or address and user agent where it sends none.
    #[must_use]
    pub fn fingerprint(&self) -> Vec<u8> {
        let text = if self.device_id.is_empty() {
            format!("client\n{}\n{}", self.ip, self.user_agent)
        } else {
            format!("device\n{}", self.device_id)
        };
        digest::digest(&digest::SHA256, text.as_bytes()).as_ref().to_vec()
    }
}

fn text<'a>(meta: &'a MetadataMap, key: &str) -> Option<&'a str> {
    meta.get(key).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
}

fn cut(text: &str, chars: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(chars).collect()
}

/// The address that the service layers settled on; they alone know which proxies to believe.
fn ip<T>(request: &Request<T>) -> String {
    request.extensions().get::<ClientAddress>().map(|address| address.0.to_canonical().to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_id_outweighs_address_and_agent() {
        let a = Client { ip: "1.1.1.1".into(), user_agent: "x".into(), ..Client::default() };
        let b = Client { ip: "2.2.2.2".into(), ..a.clone() };
        assert_ne!(a.fingerprint(), b.fingerprint());
        assert_eq!(a.with_device("d1", "").fingerprint(), b.with_device("d1", "phone").fingerprint());
    }

    #[test]
    fn facts_are_bounded_and_carry_no_control_characters() {
        let mut request = Request::new(());
        request.metadata_mut().insert("grpcgateway-user-agent", "u".repeat(2000).parse().unwrap());
        let client = Client::of(&request).with_device("d\u{7}1", "n");
        assert_eq!(client.user_agent.len(), 512);
        assert_eq!(client.device_id, "d1");
    }
}
