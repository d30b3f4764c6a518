//! Identity: accounts, sign-in, sessions, tokens, keys, roles, and the ext_authz decision of every request.
