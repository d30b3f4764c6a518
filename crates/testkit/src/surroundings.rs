//! What `cargo xtask test` tells the tests by environment. A missing variable is a failure, never a skip.

/// Superuser address of the Postgres that test databases are made in: `CORELOOP_TEST_DATABASE_URL`.
#[must_use]
pub fn database_url() -> String {
    required("CORELOOP_TEST_DATABASE_URL")
}

/// Address of a Redis for tests that need no server of their own: `CORELOOP_TEST_REDIS_URL`.
#[must_use]
pub fn redis_url() -> String {
    required("CORELOOP_TEST_REDIS_URL")
}

/// Path of the Envoy binary: `CORELOOP_TEST_ENVOY`.
#[must_use]
pub fn envoy_binary() -> String {
    required("CORELOOP_TEST_ENVOY")
}

/// Path of the product's binary, as it was built beside the tests: `CORELOOP_TEST_BINARY`.
#[must_use]
pub fn product() -> String {
    required("CORELOOP_TEST_BINARY")
}

/// Folder of the jars of Apache Kafka: `CORELOOP_TEST_KAFKA`.
#[must_use]
pub fn kafka_jars() -> String {
    required("CORELOOP_TEST_KAFKA")
}

/// Folder of the jars of ElasticMQ: `CORELOOP_TEST_ELASTICMQ`.
#[must_use]
pub fn elasticmq_jars() -> String {
    required("CORELOOP_TEST_ELASTICMQ")
}

/// Jar of Apicurio Registry: `CORELOOP_TEST_REGISTRY`.
#[must_use]
pub fn registry_jar() -> String {
    required("CORELOOP_TEST_REGISTRY")
}

/// Says to a process of this program that it is one test's own ([`crate::alone()`]).
pub(crate) const ALONE: &str = "CORELOOP_TEST_ALONE";

/// Whether this process is one test's own.
#[allow(clippy::disallowed_methods, reason = "said by ourselves, to ourselves")]
pub(crate) fn alone() -> bool {
    std::env::var_os(ALONE).is_some()
}

#[allow(clippy::disallowed_methods, reason = "the one place where tests read their environment")]
fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with `cargo xtask test`"))
}
