//! The RPCs, a small group a file: parse, act, reply. This is only the table of contents.

use std::sync::Arc;

use coreloop_chat_api::v1::{self, chat_service_server::ChatService};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{App, Error};

pub mod conversations;
pub mod messages;
pub mod stream;

/// Serves `coreloop.chat.v1`.
#[derive(Debug, Clone)]
pub struct Grpc(pub Arc<App>);

macro_rules! delegate {
    ($trait:ident {
        $($rpc:ident => $handler:path : $request:ident -> $response:ident;)*
    } streams {
        $($stream:ident = $open:ident => $opener:path : $asked:ident -> $messages:ty;)*
    }) => {
        #[tonic::async_trait]
        impl $trait for Grpc {
            $(
                async fn $rpc(&self, request: Request<v1::$request>) -> Result<Response<v1::$response>, Status> {
                    Ok($handler(&self.0, request).await?)
                }
            )*
            $(
                type $stream = $messages;

                async fn $open(&self, request: Request<v1::$asked>) -> Result<Response<$messages>, Status> {
                    Ok($opener(&self.0, request).await?)
                }
            )*
        }
    };
}

delegate!(ChatService {
    create_conversation => conversations::create_conversation: CreateConversationRequest -> CreateConversationResponse;
    list_conversations => conversations::list_conversations: ListConversationsRequest -> ListConversationsResponse;
    delete_conversation => conversations::delete_conversation: DeleteConversationRequest -> DeleteConversationResponse;
    send_message => messages::send_message: SendMessageRequest -> SendMessageResponse;
    list_messages => messages::list_messages: ListMessagesRequest -> ListMessagesResponse;
    retry_message => messages::retry_message: RetryMessageRequest -> RetryMessageResponse;
} streams {
    StreamAnswerStream = stream_answer => stream::stream_answer: StreamAnswerRequest -> stream::Told;
});

/// An id as the contract said it.
fn id(field: &str, text: &str) -> Result<Uuid, Error> {
    text.parse().map_err(|_| Error::invalid(field, "must be a UUID"))
}
