//! What every RPC of ours must state. A test over the committed descriptors fails on any that does not.

use coreloop_transcode::{
    options,
    pb::option::{Access, Edge, Level},
};
use prost_reflect::{DescriptorPool, MethodDescriptor};

/// How the lines of an RPC's comment begin, after the one or more that say what it does.
const LINES: [&str; 4] = ["Permission:", "Idempotency:", "Emits:", "Reasons:"];

/// For machines that come through the edge, each by a decision of its own: workers outside of the mesh and campaigns, with a token for
/// the service (chapter 02).
const FROM_OUTSIDE: [&str; 3] = [
    "coreloop.character.v1.CharacterService.ReceiveCampaign",
    "coreloop.scan.v1.ScanInternalService.PullJobs",
    "coreloop.scan.v1.ScanInternalService.SubmitAiResult",
];

/// What RPCs of our packages fail to state, one sentence each; nothing when all is well.
#[must_use]
pub fn faults(pool: &DescriptorPool) -> Vec<String> {
    let services = pool.services().filter(|service| service.full_name().starts_with("coreloop."));
    services.flat_map(|service| service.methods().collect::<Vec<_>>()).flat_map(|rpc| rpc_faults(&rpc)).collect()
}

fn rpc_faults(rpc: &MethodDescriptor) -> Vec<String> {
    let name = rpc.full_name();
    let mut faults = Vec::new();
    let (access, edge) = (options::access(rpc), options::edge(rpc).unwrap_or_default());
    let access = access.map(|access| Access { mesh_only: access.mesh_only || FROM_OUTSIDE.contains(&name), ..access });
    if let Some(fault) = access_fault(access) {
        faults.push(format!("{name}: {fault}"));
    }
    if let Some(fault) = socket_fault(access.unwrap_or_default(), &edge, rpc) {
        faults.push(format!("{name}: {fault}"));
    }
    if let Some(fault) = comment_fault(&comment(rpc).unwrap_or_default()) {
        faults.push(format!("{name}: {fault}"));
    }
    faults
}

fn access_fault(access: Option<Access>) -> Option<&'static str> {
    let Some(access) = access else { return Some("no access option says who may call it") };
    match Level::try_from(access.level) {
        Err(_) | Ok(Level::Unspecified) => Some("its access option states no level"),
        Ok(Level::Internal) if !access.mesh_only => Some("it is for machines but not mesh_only"),
        Ok(Level::Public) if access.fresh => Some("it is fresh but looks at no token"),
        Ok(level) if access.admins && !super::of_users(level) => {
            Some("it admits administrators beside users and is for no users")
        }
        Ok(_) => None,
    }
}

fn socket_fault(access: Access, edge: &Edge, rpc: &MethodDescriptor) -> Option<&'static str> {
    let level = Level::try_from(access.level).unwrap_or(Level::Unspecified);
    if access.late_token && !(edge.socket && super::needs_token(level)) {
        return Some("its token may come late but it opens no socket, or needs no token");
    }
    (edge.socket && !rpc.is_server_streaming()).then_some("it opens a socket but is no server stream")
}

fn comment_fault(comment: &str) -> Option<String> {
    let lines: Vec<&str> = comment.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let Some(split) = lines.len().checked_sub(LINES.len()).filter(|what| *what >= 1) else {
        return Some("its comment has not the five lines (what, Permission, Idempotency, Emits, Reasons)".to_owned());
    };
    let (what, rest) = lines.split_at(split);
    if let Some(line) = what.iter().find(|line| LINES.iter().any(|start| line.starts_with(start))) {
        return Some(format!("its comment has {line:?} out of place"));
    }
    LINES.iter().zip(rest).find_map(|(start, line)| match line.strip_prefix(start) {
        Some(text) if !text.trim().is_empty() => None,
        _ => Some(format!("its comment has no line {start:?} in its place")),
    })
}

/// The comment before an RPC, as the descriptors keep it.
fn comment(rpc: &MethodDescriptor) -> Option<String> {
    let file = rpc.parent_file();
    let info = file.file_descriptor_proto().source_code_info.as_ref()?;
    let location = info.location.iter().find(|location| location.path == rpc.path())?;
    location.leading_comments.clone()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use coreloop_transcode::descriptor;
    use prost_reflect::prost::Message as _;
    use prost_reflect::prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_rpc_states_access_and_the_five_lines() {
        assert_eq!(faults(descriptor::pool()), Vec::<String>::new());
    }

    #[test]
    fn an_rpc_without_an_option_is_found() {
        // Plain prost types know no extensions, so this drops every option and keeps the rest.
        let set = FileDescriptorSet::decode(descriptor::ENCODED).unwrap();
        let stripped = DescriptorPool::from_file_descriptor_set(set).unwrap();
        let found = faults(&stripped);
        let rpcs = stripped
            .services()
            .filter(|s| s.full_name().starts_with("coreloop."))
            .flat_map(|s| s.methods().collect::<Vec<_>>());
        assert_eq!(found.len(), rpcs.count());
        assert!(found[0].contains("no access option"), "{}", found[0]);
    }

    #[test]
    fn an_rpc_without_its_lines_is_found() {
        let mut set = FileDescriptorSet::decode(descriptor::ENCODED).unwrap();
        for file in &mut set.file {
            for location in file.source_code_info.iter_mut().flat_map(|info| &mut info.location) {
                if let Some(text) = &mut location.leading_comments {
                    *text = text.replace("Emits:", "Sends:");
                }
            }
        }
        let found = faults(&DescriptorPool::from_file_descriptor_set(set).unwrap());
        assert!(found.iter().any(|fault| fault.contains("no line \"Emits:\"")), "{found:?}");
    }

    #[test]
    fn comments_are_read_strictly() {
        let good = " Does it.\n Permission: public.\n Idempotency: none.\n Emits: nothing.\n Reasons: none.\n";
        assert_eq!(comment_fault(good), None);
        for bad in [
            "",
            " Does it.\n",
            " Permission: public.\n Idempotency: none.\n Emits: nothing.\n Reasons: none.\n",
            " Does it.\n Permission:\n Idempotency: none.\n Emits: nothing.\n Reasons: none.\n",
            " Does it.\n Idempotency: none.\n Permission: public.\n Emits: nothing.\n Reasons: none.\n",
            " Does it.\n Permission: public.\n Idempotency: none.\n Emits: nothing.\n",
            " Does it.\n Permission: public.\n Permission: public.\n Idempotency: none.\n Emits: nothing.\n Reasons: none.\n",
        ] {
            assert!(comment_fault(bad).is_some(), "{bad:?}");
        }
        assert!(access_fault(None).is_some());
        assert!(access_fault(Some(Access::default())).is_some());
        assert!(access_fault(Some(Access { level: 99, ..Access::default() })).is_some());
        assert!(access_fault(Some(Access { level: Level::Internal as i32, ..Access::default() })).is_some());
        let public = Access { level: Level::Public as i32, ..Access::default() };
        assert_eq!(access_fault(Some(public)), None);
        assert!(access_fault(Some(Access { fresh: true, ..public })).is_some());
        let beside = |level: Level| Access { level: level.into(), admins: true, mesh_only: true, ..Access::default() };
        for level in [Level::Standard, Level::Premium, Level::Vip] {
            assert_eq!(access_fault(Some(beside(level))), None);
        }
        for level in [Level::Public, Level::Optional, Level::Admin, Level::Internal] {
            assert!(access_fault(Some(beside(level))).is_some(), "{level:?}");
        }
    }

    #[test]
    fn sockets_are_server_streams_and_late_tokens_are_theirs() {
        let service = descriptor::pool().get_service_by_name("coreloop.auth.v1.AuthService").unwrap();
        let rpc = |name: &str| service.methods().find(|rpc| rpc.name() == name).unwrap();
        let (stream, unary) = (rpc("WatchSession"), rpc("GetMe"));
        let access = |level: Level, late_token| Access { level: level.into(), late_token, ..Access::default() };
        let edge = |socket| Edge { socket, ..Edge::default() };
        let good = [
            (access(Level::Standard, true), edge(true), &stream),
            (access(Level::Admin, true), edge(true), &stream),
            (access(Level::Public, false), edge(true), &stream),
            (access(Level::Standard, false), edge(false), &unary),
        ];
        for (access, edge, rpc) in good {
            assert_eq!(socket_fault(access, &edge, rpc), None, "{access:?} {edge:?}");
        }
        let bad = [
            (access(Level::Standard, true), edge(false), &stream),
            (access(Level::Optional, true), edge(true), &stream),
            (access(Level::Public, true), edge(true), &stream),
            (access(Level::Internal, true), edge(true), &stream),
            (access(Level::Standard, false), edge(true), &unary),
        ];
        for (access, edge, rpc) in bad {
            assert!(socket_fault(access, &edge, rpc).is_some(), "{access:?} {edge:?}");
        }
    }
}
