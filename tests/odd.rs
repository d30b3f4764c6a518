//! The contract of odd shapes (`crates/transcode/tests-data`), open to everybody: every type, binding and wildcard that our
//! own contracts do not have yet.

use std::{path::Path, sync::LazyLock};

use coreloop_transcode::router::Router;
use prost_reflect::DescriptorPool;
use tempfile::TempDir;

const SHAPES: &str = include_str!("../crates/transcode/tests-data/shapes.proto");

/// Its text.
pub fn proto() -> String {
    let open = "option (coreloop.option.v1.access) = {level: LEVEL_PUBLIC};\n    option (google.api.http) = {";
    SHAPES.replace("option (google.api.http) = {", open)
}

/// Text beside our own protos, as an encoded descriptor set.
pub fn compiled(proto: &str) -> Vec<u8> {
    let home = TempDir::new().unwrap();
    std::fs::write(home.path().join("shapes.proto"), proto).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let mut compiler = protox::Compiler::new([home.path(), &root, &root.join("third_party")]).unwrap();
    compiler.include_imports(true).open_files(["shapes.proto", "google/rpc/error_details.proto"]).unwrap();
    compiler.encode_file_descriptor_set()
}

/// Its descriptors.
pub fn pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(compiled(&proto()).as_slice()).unwrap());
    &POOL
}

/// Its routes.
pub fn router() -> &'static Router {
    static ROUTER: LazyLock<Router> =
        LazyLock::new(|| Router::new(pool()).unwrap_or_else(|errors| panic!("{errors:#?}")));
    &ROUTER
}
