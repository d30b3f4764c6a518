//! Second factor of administrators: TOTP (RFC 6238) and recovery codes.
