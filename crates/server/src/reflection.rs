//! Server reflection, v1 and v1alpha, straight from the descriptor pool.
//!
//! Own rather than tonic-reflection's, which decodes and keeps a copy of the descriptors for each service and version and
//! so costs each process start-up time and memory for something that only a person with `grpcurl` asks for. A service
//! shows its own package, the edge shows everything.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, LazyLock},
};

use coreloop_transcode::descriptor;
use prost_reflect::{DescriptorPool, FileDescriptor};

/// `grpc.health.v1`, which is not in our own set.
static HEALTH: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(tonic_health::pb::FILE_DESCRIPTOR_SET).unwrap_or_default());

/// What one module shows, worked out once: anybody may ask, as often as they like.
#[derive(Clone)]
pub(crate) struct Shown(Arc<Inner>);

struct Inner {
    services: Vec<String>,
    /// Names of the files of the services and of what those import.
    files: HashSet<String>,
}

pub(crate) enum Answer {
    File(Vec<u8>),
    Numbers(String, Vec<i32>),
    Services(Vec<String>),
    NotFound,
}

impl Shown {
    pub(crate) fn new(services: Vec<String>, everything: bool) -> Self {
        let mut names: BTreeSet<String> = match everything {
            true => descriptor::pool().services().map(|service| service.full_name().to_owned()).collect(),
            false => services.into_iter().collect(),
        };
        names.insert("grpc.health.v1.Health".to_owned());
        let services: Vec<String> = names.into_iter().collect();
        let files = files_of(&services);
        Self(Arc::new(Inner { services, files }))
    }

    fn file(&self, found: Option<FileDescriptor>) -> Answer {
        match found.filter(|file| self.0.files.contains(file.name())) {
            Some(file) => Answer::File(file.encode_to_vec()),
            None => Answer::NotFound,
        }
    }

    fn by_name(&self, name: &str) -> Answer {
        self.file(pools().find_map(|pool| pool.get_file_by_name(name)))
    }

    fn by_symbol(&self, symbol: &str) -> Answer {
        self.file(pools().find_map(|pool| file_of(pool, symbol)))
    }

    fn by_extension(&self, message: &str, number: i32) -> Answer {
        let extension = |pool: &'static DescriptorPool| {
            let message = pool.get_message_by_name(message)?;
            Some(message.get_extension(u32::try_from(number).ok()?)?.parent_file())
        };
        self.file(pools().find_map(extension))
    }

    fn numbers(&self, message: &str) -> Answer {
        let Some(found) = pools().find_map(|pool| pool.get_message_by_name(message)) else { return Answer::NotFound };
        let numbers = found.extensions().filter_map(|extension| i32::try_from(extension.number()).ok()).collect();
        Answer::Numbers(message.to_owned(), numbers)
    }
}

/// The files of services and what they import.
fn files_of(services: &[String]) -> HashSet<String> {
    let mut files = HashSet::new();
    let mut todo: Vec<FileDescriptor> = services
        .iter()
        .filter_map(|name| pools().find_map(|pool| pool.get_service_by_name(name)))
        .map(|service| service.parent_file())
        .collect();
    while let Some(file) = todo.pop() {
        if files.insert(file.name().to_owned()) {
            todo.extend(file.dependencies());
        }
    }
    files
}

fn pools() -> impl Iterator<Item = &'static DescriptorPool> {
    [descriptor::pool(), &*HEALTH].into_iter()
}

/// The file of a service, method, message, enum or extension, by its full name.
fn file_of(pool: &DescriptorPool, symbol: &str) -> Option<FileDescriptor> {
    let direct = pool
        .get_service_by_name(symbol)
        .map(|service| service.parent_file())
        .or_else(|| pool.get_message_by_name(symbol).map(|message| message.parent_file()))
        .or_else(|| pool.get_enum_by_name(symbol).map(|values| values.parent_file()))
        .or_else(|| pool.get_extension_by_name(symbol).map(|extension| extension.parent_file()));
    direct.or_else(|| {
        let (parent, _member) = symbol.rsplit_once('.')?;
        let file = pool.get_service_by_name(parent).map(|service| service.parent_file());
        file.or_else(|| pool.get_message_by_name(parent).map(|message| message.parent_file()))
    })
}

/// The two versions have the same messages under different names.
macro_rules! version {
    ($version:ident) => {
        pub(crate) mod $version {
            use std::pin::Pin;

            use futures::{Stream, StreamExt as _};
            use tonic::{Request, Response, Status, Streaming};
            use tonic_reflection::pb::$version::{
                ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
                ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
                server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
                server_reflection_server::ServerReflection,
            };

            use super::{Answer, Shown};

            /// This version's service.
            pub(crate) struct Service(pub(crate) Shown);

            #[tonic::async_trait]
            impl ServerReflection for Service {
                type ServerReflectionInfoStream =
                    Pin<Box<dyn Stream<Item = Result<ServerReflectionResponse, Status>> + Send>>;

                async fn server_reflection_info(
                    &self,
                    request: Request<Streaming<ServerReflectionRequest>>,
                ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
                    let shown = self.0.clone();
                    let answers = request.into_inner().map(move |asked| Ok(answer(&shown, asked?)));
                    Ok(Response::new(Box::pin(answers)))
                }
            }

            pub(super) fn answer(shown: &Shown, asked: ServerReflectionRequest) -> ServerReflectionResponse {
                let found = match &asked.message_request {
                    Some(MessageRequest::FileByFilename(name)) => shown.by_name(name),
                    Some(MessageRequest::FileContainingSymbol(symbol)) => shown.by_symbol(symbol),
                    Some(MessageRequest::FileContainingExtension(of)) => {
                        shown.by_extension(&of.containing_type, of.extension_number)
                    }
                    Some(MessageRequest::AllExtensionNumbersOfType(name)) => shown.numbers(name),
                    Some(MessageRequest::ListServices(_)) => Answer::Services(shown.0.services.clone()),
                    None => Answer::NotFound,
                };
                let response = match found {
                    Answer::File(file) => MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
                        file_descriptor_proto: vec![file],
                    }),
                    Answer::Numbers(base_type_name, extension_number) => {
                        MessageResponse::AllExtensionNumbersResponse(ExtensionNumberResponse {
                            base_type_name,
                            extension_number,
                        })
                    }
                    Answer::Services(names) => MessageResponse::ListServicesResponse(ListServiceResponse {
                        service: names.into_iter().map(|name| ServiceResponse { name }).collect(),
                    }),
                    Answer::NotFound => MessageResponse::ErrorResponse(ErrorResponse {
                        error_code: tonic::Code::NotFound as i32,
                        error_message: "not found".to_owned(),
                    }),
                };
                ServerReflectionResponse {
                    valid_host: asked.host.clone(),
                    original_request: Some(asked),
                    message_response: Some(response),
                }
            }
        }
    };
}

version!(v1);
version!(v1alpha);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_shows_its_own_package_and_what_it_needs() {
        let auth = Shown::new(vec!["coreloop.auth.v1.AuthService".to_owned()], false);
        assert_eq!(auth.0.services, ["coreloop.auth.v1.AuthService", "grpc.health.v1.Health"]);
        assert!(matches!(auth.by_symbol("coreloop.auth.v1.AuthService.Login"), Answer::File(_)));
        assert!(matches!(auth.by_symbol("coreloop.auth.v1.LoginRequest"), Answer::File(_)));
        assert!(matches!(auth.by_symbol("grpc.health.v1.Health"), Answer::File(_)));
        assert!(matches!(auth.by_name("google/api/annotations.proto"), Answer::File(_)));
        assert!(matches!(auth.by_symbol("coreloop.edge.v1.EdgeService"), Answer::NotFound));
        assert!(matches!(auth.by_extension("google.protobuf.MethodOptions", 50801), Answer::File(_)));
        assert!(matches!(auth.clone().by_name("no/such.proto"), Answer::NotFound));
        let edge = Shown::new(Vec::new(), true);
        assert!(matches!(edge.by_symbol("coreloop.auth.v1.AuthService"), Answer::File(_)));
    }
}
