//! What must not get past any gate: bad tokens, forged identity, odd spellings.

mod identity;
mod paths;
mod tokens;
