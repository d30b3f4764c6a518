//! `Geocode`, `ReverseGeocode`: the same for everybody who is signed in.

use std::sync::Arc;

use coreloop_location_api::v1;
use tonic::{Request, Response};

use super::place;
use crate::{App, Error, looking, wire::Address};

/// `Geocode`.
///
/// # Errors
/// Words that are none; `PROVIDER_UNAVAILABLE`.
pub async fn geocode(
    app: &Arc<App>,
    request: Request<v1::GeocodeRequest>,
) -> Result<Response<v1::GeocodeResponse>, Error> {
    let found = looking::places(app, &request.get_ref().query).await?;
    Ok(Response::new(v1::GeocodeResponse { addresses: found.into_iter().map(told).collect() }))
}

/// `ReverseGeocode`.
///
/// # Errors
/// `PROVIDER_UNAVAILABLE`.
pub async fn reverse_geocode(
    app: &Arc<App>,
    request: Request<v1::ReverseGeocodeRequest>,
) -> Result<Response<v1::ReverseGeocodeResponse>, Error> {
    let asked = request.get_ref();
    let found = looking::address(app, place(asked.lat, asked.lng)?).await?;
    Ok(Response::new(v1::ReverseGeocodeResponse { address: found.map(told) }))
}

fn told(address: Address) -> v1::Address {
    let Address { address, road_address, place } = address;
    v1::Address { address, road_address, lat: place.lat, lng: place.lng }
}
