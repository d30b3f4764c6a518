//! The RPCs, a small group a file: parse, act, reply. This is only the table of contents.

use std::sync::Arc;

use coreloop_location_api::v1::{self, location_service_server::LocationService};
use tonic::{Request, Response, Status, Streaming};

use crate::App;

pub mod addresses;
pub mod favorites;
pub mod shops;
pub mod sites;
pub mod track;
pub mod visits;

/// Serves `coreloop.location.v1`.
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

            type TrackStream = track::Updates;

            async fn track(
                &self,
                request: Request<Streaming<v1::TrackRequest>>,
            ) -> Result<Response<Self::TrackStream>, Status> {
                Ok(track::track(&self.0, request)?)
            }
        }
    };
}

delegate!(LocationService {
    list_shops => shops::list_shops: ListShopsRequest -> ListShopsResponse;
    get_shop => shops::get_shop: GetShopRequest -> GetShopResponse;
    search_shops => shops::search_shops: SearchShopsRequest -> SearchShopsResponse;
    list_sites => sites::list_sites: ListSitesRequest -> ListSitesResponse;
    geocode => addresses::geocode: GeocodeRequest -> GeocodeResponse;
    reverse_geocode => addresses::reverse_geocode: ReverseGeocodeRequest -> ReverseGeocodeResponse;
    add_favorite => favorites::add_favorite: AddFavoriteRequest -> AddFavoriteResponse;
    list_favorites => favorites::list_favorites: ListFavoritesRequest -> ListFavoritesResponse;
    remove_favorite => favorites::remove_favorite: RemoveFavoriteRequest -> RemoveFavoriteResponse;
    visit => visits::visit: VisitRequest -> VisitResponse;
});

/// A field that is no UUID.
fn id(field: &str, text: &str) -> Result<uuid::Uuid, crate::Error> {
    text.parse().map_err(|_| crate::Error::invalid(field, "must be a UUID"))
}

/// A place as the contract has it. Its rules let nothing else by; asked past them the answer is the same.
fn place(lat: Option<f64>, lng: Option<f64>) -> Result<crate::globe::Point, crate::Error> {
    let place = lat.zip(lng).and_then(|(lat, lng)| crate::globe::Point::new(lat, lng));
    place.ok_or_else(|| crate::Error::invalid("lat", "lat and lng must be on the globe"))
}
