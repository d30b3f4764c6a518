//! Same key, same effect, same answer: claim, replay, expire, with a body hash.
