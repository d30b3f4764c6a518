//! The RPCs, one file each or a small group: parse → act → reply. These three are only the table of contents.

use std::sync::Arc;

use coreloop_auth_api::v1::{
    self, auth_admin_service_server::AuthAdminService, auth_internal_service_server::AuthInternalService,
    auth_service_server::AuthService,
};
use tonic::{Request, Response, Status};

use crate::App;

pub mod admin;
pub mod admin_login;
pub mod age;
pub mod internal;
pub mod invite;
pub mod link;
pub mod login;
pub mod me;
pub mod password;
pub mod profiles;
pub mod refresh;
pub mod reset;
pub mod sessions;
pub mod sign_up;
pub mod social;
pub mod watch;
pub mod well_known;
pub mod withdraw;

/// Serves the three services of `coreloop.auth.v1`.
#[derive(Debug, Clone)]
pub struct Grpc(pub Arc<App>);

macro_rules! delegate {
    ($trait:ident {
        $($rpc:ident => $handler:path : $request:ident -> $response:ident;)*
    } $(streams {
        $($stream:ident = $streaming:ident => $opener:path : $asked:ident -> $messages:ty;)*
    })?) => {
        #[tonic::async_trait]
        impl $trait for Grpc {
            $(
                async fn $rpc(&self, request: Request<v1::$request>) -> Result<Response<v1::$response>, Status> {
                    Ok($handler(&self.0, request).await?)
                }
            )*
            $($(
                type $stream = $messages;

                async fn $streaming(&self, request: Request<v1::$asked>) -> Result<Response<$messages>, Status> {
                    Ok($opener(&self.0, request).await?)
                }
            )*)?
        }
    };
}

delegate!(AuthService {
    sign_up => sign_up::sign_up: SignUpRequest -> SignUpResponse;
    login => login::login: LoginRequest -> LoginResponse;
    admin_login => admin_login::admin_login: AdminLoginRequest -> AdminLoginResponse;
    admin_logout => sessions::admin_logout: AdminLogoutRequest -> AdminLogoutResponse;
    change_password => password::change_password: ChangePasswordRequest -> ChangePasswordResponse;
    request_password_reset => reset::request_password_reset: RequestPasswordResetRequest -> RequestPasswordResetResponse;
    reset_password => reset::reset_password: ResetPasswordRequest -> ResetPasswordResponse;
    authorize => social::authorize: AuthorizeRequest -> AuthorizeResponse;
    social_login => social::social_login: SocialLoginRequest -> SocialLoginResponse;
    oauth_callback => social::oauth_callback: OauthCallbackRequest -> OauthCallbackResponse;
    exchange_login_code => social::exchange_login_code: ExchangeLoginCodeRequest -> ExchangeLoginCodeResponse;
    refresh_token => refresh::refresh_token: RefreshTokenRequest -> RefreshTokenResponse;
    logout => sessions::logout: LogoutRequest -> LogoutResponse;
    logout_all => sessions::logout_all: LogoutAllRequest -> LogoutAllResponse;
    list_tokens => sessions::list_tokens: ListTokensRequest -> ListTokensResponse;
    revoke_token => sessions::revoke_token: RevokeTokenRequest -> RevokeTokenResponse;
    get_me => me::get_me: GetMeRequest -> GetMeResponse;
    withdraw => withdraw::withdraw: WithdrawRequest -> WithdrawResponse;
    list_links => link::list_links: ListLinksRequest -> ListLinksResponse;
    link_provider => link::link_provider: LinkProviderRequest -> LinkProviderResponse;
    unlink_provider => link::unlink_provider: UnlinkProviderRequest -> UnlinkProviderResponse;
    declare_birth_date => age::declare_birth_date: DeclareBirthDateRequest -> DeclareBirthDateResponse;
    receive_age_verification => age::receive_age_verification: ReceiveAgeVerificationRequest -> ReceiveAgeVerificationResponse;
    get_jwks => well_known::get_jwks: GetJwksRequest -> GetJwksResponse;
    get_open_id_configuration => well_known::get_open_id_configuration: GetOpenIdConfigurationRequest -> GetOpenIdConfigurationResponse;
} streams {
    WatchSessionStream = watch_session => watch::watch_session: WatchSessionRequest -> watch::States;
});

delegate!(AuthAdminService {
    set_roles => admin::set_roles: SetRolesRequest -> SetRolesResponse;
    lock_user => admin::lock_user: LockUserRequest -> LockUserResponse;
    unlock_user => admin::unlock_user: UnlockUserRequest -> UnlockUserResponse;
    get_user => admin::get_user: GetUserRequest -> GetUserResponse;
    create_invite => invite::create_invite: CreateInviteRequest -> CreateInviteResponse;
    list_invites => invite::list_invites: ListInvitesRequest -> ListInvitesResponse;
    list_login_audits => admin::list_login_audits: ListLoginAuditsRequest -> ListLoginAuditsResponse;
    rotate_keys => admin::rotate_keys: RotateKeysRequest -> RotateKeysResponse;
});

delegate!(AuthInternalService {
    mint_internal_token => internal::mint_internal_token: MintInternalTokenRequest -> MintInternalTokenResponse;
    check_token => internal::check_token: CheckTokenRequest -> CheckTokenResponse;
    get_profiles => profiles::get_profiles: GetProfilesRequest -> GetProfilesResponse;
    set_profile => profiles::set_profile: SetProfileRequest -> SetProfileResponse;
});
