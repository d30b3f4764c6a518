//! The RPCs, a small group a file: parse, act, reply. This is only the table of contents.

use std::sync::Arc;

use coreloop_image_api::v1::{
    self, image_internal_service_server::ImageInternalService, image_service_server::ImageService,
};
use tonic::{Request, Response, Status};

use crate::App;

pub mod images;
pub mod uploads;

/// Serves `coreloop.image.v1`.
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

delegate!(ImageService {
    create_upload => uploads::create_upload: CreateUploadRequest -> CreateUploadResponse;
    register_image => uploads::register_image: RegisterImageRequest -> RegisterImageResponse;
    get_image => images::get_image: GetImageRequest -> GetImageResponse;
    list_images => images::list_images: ListImagesRequest -> ListImagesResponse;
    delete_image => images::delete_image: DeleteImageRequest -> DeleteImageResponse;
});

delegate!(ImageInternalService {
    find_image => images::find_image: FindImageRequest -> FindImageResponse;
});
