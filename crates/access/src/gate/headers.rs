//! The request's headers, wherever they are kept, without building a map of them again.

use std::collections::HashMap;

use crate::token::Invalid;

/// Header names are lower case in both forms.
#[derive(Debug, Clone, Copy)]
pub enum HeaderView<'a> {
    /// As hyper and tonic keep them.
    Map(&'a http::HeaderMap),
    /// As Envoy's `CheckRequest` carries them: repeated headers joined by commas.
    Pairs(&'a HashMap<String, String>),
    /// The few that matter, picked out already. A header sent twice is joined by a comma.
    Picked(&'a Picked<'a>),
    /// Only a token, for tools.
    Token(Option<&'a str>),
}

/// The headers a decision looks at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Picked<'a> {
    /// `authorization`, in bytes: what is no text is refused as a token, not overlooked.
    pub authorization: Option<&'a [u8]>,
    /// `authorization` was there more than once.
    pub authorization_twice: bool,
    /// `content-type`.
    pub content_type: Option<&'a str>,
    /// `origin`.
    pub origin: Option<&'a str>,
    /// `access-control-request-method`.
    pub access_control_request_method: Option<&'a str>,
    /// `upgrade`.
    pub upgrade: Option<&'a str>,
}

impl<'a> HeaderView<'a> {
    /// The value of a header that is looked at once; none when it is absent or no text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        match self {
            Self::Map(map) => map.get(name)?.to_str().ok(),
            Self::Pairs(pairs) => pairs.get(name).map(String::as_str),
            Self::Picked(picked) => match name {
                "authorization" => std::str::from_utf8(picked.authorization?).ok(),
                "content-type" => picked.content_type,
                "origin" => picked.origin,
                "access-control-request-method" => picked.access_control_request_method,
                "upgrade" => picked.upgrade,
                _ => None,
            },
            Self::Token(_) => None,
        }
    }

    /// The bearer token (RFC 6750 section 2.1), if any was sent.
    ///
    /// # Errors
    /// When `authorization` was sent twice, or is not `Bearer`, one space and a token.
    pub fn bearer(&self) -> Result<Option<&'a [u8]>, Invalid> {
        let value = match self {
            Self::Map(map) => {
                let mut values = map.get_all(http::header::AUTHORIZATION).iter();
                let first = values.next();
                if values.next().is_some() {
                    return Err(Invalid::TwoHeaders);
                }
                first.map(http::HeaderValue::as_bytes)
            }
            Self::Token(token) => return Ok(token.map(str::as_bytes)),
            Self::Picked(picked) if picked.authorization_twice => return Err(Invalid::TwoHeaders),
            Self::Picked(picked) => picked.authorization,
            Self::Pairs(pairs) => pairs.get("authorization").map(|value| value.as_bytes()),
        };
        value.map(token_of).transpose()
    }
}

fn token_of(value: &[u8]) -> Result<&[u8], Invalid> {
    const SCHEME: &[u8] = b"bearer ";
    // A comma is in no token: two headers were joined on the way.
    if !every(value, |byte| byte != b',') {
        return Err(Invalid::TwoHeaders);
    }
    let (scheme, token) = value.split_at_checked(SCHEME.len()).ok_or(Invalid::Scheme)?;
    let clean = !token.is_empty() && every(token, |byte| byte.is_ascii_graphic());
    if scheme.eq_ignore_ascii_case(SCHEME) && clean { Ok(token) } else { Err(Invalid::Scheme) }
}

/// Looks at every byte, without a way out at the first bad one: so the compiler looks at many at once.
fn every(bytes: &[u8], good: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |so_far, byte| so_far & good(*byte))
}
