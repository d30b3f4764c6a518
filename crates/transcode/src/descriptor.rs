//! The committed descriptor set: the one source that routes, access, limits, validation and OpenAPI derive from.

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

/// The descriptor set of everything, as `cargo xtask codegen` wrote it. Keeps the options and our comments.
pub const ENCODED: &[u8] = include_bytes!("gen/coreloop.binpb");

/// The pool of [`ENCODED`], decoded once.
#[must_use]
pub fn pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        #[expect(clippy::expect_used, reason = "the committed set is decoded by a unit test; a broken one cannot ship")]
        DescriptorPool::decode(ENCODED).expect("the committed descriptor set decodes")
    });
    &POOL
}

#[cfg(test)]
mod tests {
    #[test]
    fn committed_set_decodes() {
        assert!(super::pool().get_service_by_name("coreloop.auth.v1.AuthService").is_some());
    }
}
