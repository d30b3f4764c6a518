//! The meshes that tests share.

use coreloop_testkit::{Shared, TestMesh, mesh::Builder};

/// Every module in one process, behind Envoy, with the stand-ins of third parties.
pub static TOGETHER: Shared<TestMesh> = Shared::new(|| Box::pin(fronted().start()));

/// Each module in a process of its own, two of each, behind Envoy, with the stand-ins.
pub static APART: Shared<TestMesh> = Shared::new(|| Box::pin(fronted().split().replicas(2).start()));

fn fronted() -> Builder {
    // A hundred who refresh at once are served within the grace, however slow the machine is.
    let mesh = TestMesh::builder().every_module().exact_limits().envoy().stand_ins();
    mesh.setting("auth.refresh_grace_secs", 60_i64)
}

/// A test that holds in both topologies: it becomes one test for each.
macro_rules! in_both_topologies {
    ($(async fn $name:ident($mesh:ident) $body:block)+) => {$(
        mod $name {
            #[allow(unused_imports, reason = "what the tests around use")]
            use super::*;

            async fn holds($mesh: &coreloop_testkit::TestMesh) $body

            #[test]
            fn in_one_process() {
                coreloop_testkit::run(async { holds(crate::meshes::TOGETHER.get().await).await });
            }

            #[test]
            fn in_many_processes() {
                coreloop_testkit::run(async { holds(crate::meshes::APART.get().await).await });
            }
        }
    )+};
}
