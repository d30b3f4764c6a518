//! Saturation of a pool, for metrics.

use sqlx::PgPool;

/// What a pool is doing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolGauge {
    /// Connections open.
    pub open: u32,
    /// Of these, not in use.
    pub idle: u32,
    /// Most that may be open.
    pub most: u32,
}

impl PoolGauge {
    /// Looks at `pool`.
    #[must_use]
    pub fn of(pool: &PgPool) -> Self {
        Self {
            open: pool.size(),
            idle: u32::try_from(pool.num_idle()).unwrap_or(u32::MAX),
            most: pool.options().get_max_connections(),
        }
    }
}
