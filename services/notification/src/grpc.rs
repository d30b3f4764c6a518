//! The RPCs, a small group a file: parse, act, reply. This is only the table of contents.

use std::sync::Arc;

use coreloop_notification_api::v1::{self, notification_service_server::NotificationService};
use tonic::{Request, Response, Status};

use crate::App;

pub mod devices;
pub mod inbox;
pub mod preferring;

/// Serves `coreloop.notification.v1`.
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

delegate!(NotificationService {
    list_notifications => inbox::list_notifications: ListNotificationsRequest -> ListNotificationsResponse;
    get_unread_count => inbox::get_unread_count: GetUnreadCountRequest -> GetUnreadCountResponse;
    mark_read => inbox::mark_read: MarkReadRequest -> MarkReadResponse;
    mark_all_read => inbox::mark_all_read: MarkAllReadRequest -> MarkAllReadResponse;
    register_device => devices::register_device: RegisterDeviceRequest -> RegisterDeviceResponse;
    list_devices => devices::list_devices: ListDevicesRequest -> ListDevicesResponse;
    delete_device => devices::delete_device: DeleteDeviceRequest -> DeleteDeviceResponse;
    get_preferences => preferring::get_preferences: GetPreferencesRequest -> GetPreferencesResponse;
    update_preferences => preferring::update_preferences: UpdatePreferencesRequest -> UpdatePreferencesResponse;
});
