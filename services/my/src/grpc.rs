//! The RPCs, a small group a file: parse, act, reply. This is only the table of contents.

use std::sync::Arc;

use coreloop_my_api::v1::{self, my_service_server::MyService};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{App, Error, person::Footprint};

pub mod badges;
pub mod follows;
pub mod preferences;
pub mod profile;
pub mod summary;
pub mod timeline;
pub mod users;

/// Serves `coreloop.my.v1`.
#[derive(Debug, Clone)]
pub struct Grpc(pub Arc<App>);

macro_rules! delegate {
    ($trait:ident { $($rpc:ident => $handler:path : $request:ident -> $response:ident;)* }) => {
        #[tonic::async_trait]
        impl $trait for Grpc {
            $(
                async fn $rpc(&self, request: Request<v1::$request>) -> Result<Response<v1::$response>, Status> {
                    Ok($handler(&self.0, request).await?)
                }
            )*
        }
    };
}

delegate!(MyService {
    get_summary => summary::get_summary: GetSummaryRequest -> GetSummaryResponse;
    list_timeline => timeline::list_timeline: ListTimelineRequest -> ListTimelineResponse;
    get_profile => profile::get_profile: GetProfileRequest -> GetProfileResponse;
    update_profile => profile::update_profile: UpdateProfileRequest -> UpdateProfileResponse;
    list_badges => badges::list_badges: ListBadgesRequest -> ListBadgesResponse;
    get_preferences => preferences::get_preferences: GetPreferencesRequest -> GetPreferencesResponse;
    update_preferences => preferences::update_preferences: UpdatePreferencesRequest -> UpdatePreferencesResponse;
    follow => follows::follow: FollowRequest -> FollowResponse;
    unfollow => follows::unfollow: UnfollowRequest -> UnfollowResponse;
    list_followers => follows::list_followers: ListFollowersRequest -> ListFollowersResponse;
    list_following => follows::list_following: ListFollowingRequest -> ListFollowingResponse;
    get_user => users::get_user: GetUserRequest -> GetUserResponse;
});

/// What figures are worth, as the contract has it.
#[must_use]
pub fn proto_impact(footprint: &Footprint) -> v1::Impact {
    v1::Impact { tree_milli: footprint.tree_milli, water_ml: footprint.water_ml, co2_g: footprint.co2_g }
}

/// The id of a user that a request names.
///
/// # Errors
/// When it is none.
pub fn user(field: &str, text: &str) -> Result<Uuid, Error> {
    text.parse().map_err(|_| Error::invalid(field, "must be the id of a user"))
}
