//! The RPCs, a small group a file. This is only the table of contents.

use std::sync::Arc;

use coreloop_realtime_api::v1::{self, realtime_service_server::RealtimeService};
use futures::{StreamExt as _, stream::BoxStream};
use tonic::{Request, Response, Status};

use crate::App;

pub mod acts;
pub mod figures;
pub mod replay;
pub mod sync;

/// Serves `coreloop.realtime.v1`.
#[derive(Debug, Clone)]
pub struct Grpc(pub Arc<App>);

#[tonic::async_trait]
impl RealtimeService for Grpc {
    type SyncStream = BoxStream<'static, Result<v1::SyncResponse, Status>>;
    type StreamMetricsStream = figures::Figures;
    type StreamAdminStream = acts::Acted;
    type LegacyGamesStream = BoxStream<'static, Result<v1::LegacyGamesResponse, Status>>;

    async fn sync(&self, request: Request<v1::SyncRequest>) -> Result<Response<Self::SyncStream>, Status> {
        let since = request.get_ref().since;
        let messages = sync::open(&self.0, &request, since, |_| true).await?;
        let wrapped = messages.map(|message| message.map(|message| v1::SyncResponse { message: Some(message) }));
        Ok(Response::new(wrapped.boxed()))
    }

    async fn replay(&self, request: Request<v1::ReplayRequest>) -> Result<Response<v1::ReplayResponse>, Status> {
        Ok(replay::replay(&self.0, request).await?)
    }

    async fn stream_metrics(
        &self,
        _: Request<v1::StreamMetricsRequest>,
    ) -> Result<Response<Self::StreamMetricsStream>, Status> {
        Ok(Response::new(figures::stream(&self.0)))
    }

    async fn stream_admin(
        &self,
        _: Request<v1::StreamAdminRequest>,
    ) -> Result<Response<Self::StreamAdminStream>, Status> {
        Ok(Response::new(acts::stream(&self.0)))
    }

    async fn legacy_games(
        &self,
        request: Request<v1::LegacyGamesRequest>,
    ) -> Result<Response<Self::LegacyGamesStream>, Status> {
        let messages = sync::legacy(&self.0, &request).await?;
        let wrapped = messages.map(|message| message.map(|message| v1::LegacyGamesResponse { message: Some(message) }));
        Ok(Response::new(wrapped.boxed()))
    }
}
