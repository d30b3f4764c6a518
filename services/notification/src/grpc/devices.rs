//! `RegisterDevice`, `ListDevices`, `DeleteDevice`: of the caller, and of nobody else.

use coreloop_access::Caller;
use coreloop_notification_api::v1::{self, NotificationReason};
use sqlx::PgConnection;
use tonic::{Request, Response};
use uuid::Uuid;

use crate::{
    App, Error,
    store::{
        devices::{self, Device, New},
        people,
    },
    times::proto_time,
    vault,
};

fn proto(device: &Device) -> v1::Device {
    v1::Device {
        device_id: device.id.to_string(),
        platform: device.platform.into(),
        registered_at: Some(proto_time(device.registered_at.to_jiff())),
        seen_at: Some(proto_time(device.seen_at.to_jiff())),
    }
}

fn id(text: &str) -> Result<Uuid, Error> {
    text.parse().map_err(|_| Error::invalid("device_id", "must be a UUID"))
}

/// `RegisterDevice`: a phone is one device, whoever is signed in on it.
///
/// # Errors
/// As the contract lists.
pub async fn register_device(
    app: &App,
    request: Request<v1::RegisterDeviceRequest>,
) -> Result<Response<v1::RegisterDeviceResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let asked = request.get_ref();
    let named = if asked.device_id.is_empty() { None } else { Some(id(&asked.device_id)?) };
    let mut tx = coreloop_db::begin(&app.db).await?;
    if people::lock(&mut tx, user).await?.closed {
        return Err(NotificationReason::UserWithdrawn.into());
    }
    let device = placed(app, &mut tx, user, named, asked).await?;
    devices::make_room(&mut tx, user, app.options.max_devices.into()).await?;
    let all = devices::of_user(&mut *tx, user).await?;
    let found = all.iter().find(|known| known.id == device).map(proto);
    let device = found.ok_or(Error::Corrupt("a device that was written and is not there"))?;
    tx.commit().await?;
    Ok(Response::new(v1::RegisterDeviceResponse { device: Some(device) }))
}

/// Puts the token where it belongs, of a user whose row is locked; the device that it is.
async fn placed(
    app: &App,
    connection: &mut PgConnection,
    user: Uuid,
    named: Option<Uuid>,
    asked: &v1::RegisterDeviceRequest,
) -> Result<Uuid, Error> {
    let (hash, now) = (vault::hash(&asked.token), app.clock.now());
    let platform = i16::try_from(asked.platform).unwrap_or_default();
    devices::lock(connection, user, &hash).await?;
    let (id, registered_at) = match named {
        Some(named) => {
            let taken = devices::take(connection, named, user).await?;
            (named, taken.ok_or(NotificationReason::DeviceNotFound)?)
        }
        None => {
            if let Some(known) = devices::see(connection, user, &hash, (platform, now)).await? {
                return Ok(known);
            }
            (app.ids.uuid(), now)
        }
    };
    let sealed = app.vault.seal(id, &asked.token)?;
    let new = New { id, user, hash: &hash, sealed: &sealed, platform, registered_at, now };
    devices::put(connection, &new).await?;
    Ok(id)
}

/// `ListDevices`.
///
/// # Errors
/// When the database fails.
pub async fn list_devices(
    app: &App,
    request: Request<v1::ListDevicesRequest>,
) -> Result<Response<v1::ListDevicesResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let devices = devices::of_user(&app.db, user).await?.iter().map(proto).collect();
    Ok(Response::new(v1::ListDevicesResponse { devices }))
}

/// `DeleteDevice`: one of somebody else is none.
///
/// # Errors
/// `DEVICE_NOT_FOUND`.
pub async fn delete_device(
    app: &App,
    request: Request<v1::DeleteDeviceRequest>,
) -> Result<Response<v1::DeleteDeviceResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let device = id(&request.get_ref().device_id)?;
    if !devices::remove_of(&app.db, device, user).await? {
        return Err(NotificationReason::DeviceNotFound.into());
    }
    Ok(Response::new(v1::DeleteDeviceResponse {}))
}
