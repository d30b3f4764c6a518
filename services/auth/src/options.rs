//! Settings of the section `auth`: defaulted, documented, checked before the process starts.

use coreloop_access::token::Algorithm;
use coreloop_config::{Errors, Report, Section};
use coreloop_service::{Mode, ctx::LOCAL_MESH_SECRET};
use secrecy::SecretString;
use serde::Deserialize;

/// Settings of the service. Times in seconds unless the name says otherwise.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Life of an access token.
    pub access_ttl_secs: u32,
    /// Life of a refresh token, and of a session that is not refreshed.
    pub refresh_ttl_secs: u32,
    /// Life of an administrator's token.
    pub admin_ttl_secs: u32,
    /// Life of an internal token.
    pub internal_ttl_secs: u32,
    /// Time in which a lost refresh reply is forgiven to the same device.
    pub refresh_grace_secs: u32,
    /// Algorithm of new keys: `RS256`, `ES256` or `EdDSA`.
    pub algorithm: Algorithm,
    /// Days after which a key is rotated by the scheduler.
    pub rotation_days: u32,
    /// Time a next key must be published before it may sign.
    pub rotation_min_publish_secs: u32,
    /// Time between two looks at the stored keys.
    pub keys_reload_secs: u32,
    /// 32 bytes, hex or base64: seals private keys and TOTP secrets. Required in production.
    pub master_key: Option<SecretString>,
    /// Where local mode keeps the master key it makes.
    pub data_dir: String,
    /// Shared with the services of the mesh: proves a machine. Required in production.
    pub mesh_secret: Option<SecretString>,
    /// Sign-up needs an invite code.
    pub invite_required: bool,
    /// Failures in the window after which an account is locked.
    pub lockout_failures: u32,
    /// Length of the window, and of the lock.
    pub lockout_secs: u32,
    /// Failures in the window after which an address is refused.
    pub address_failures: u32,
    /// Argon2id memory in KiB; OWASP's least is 19456 with 2 passes.
    pub argon2_memory_kib: u32,
    /// Argon2id passes.
    pub argon2_passes: u32,
    /// Threads that hash passwords; 0 is one for each core; they run only where nothing else does.
    pub hash_threads: u32,
    /// Sign-ins that may wait for a hash thread, and never more than a quarter of the service's places; more are refused at
    /// once.
    pub hash_queue: u32,
    /// Seeds the demo accounts and the invite `5858`; local mode only.
    pub seed: bool,
    /// Base of our own addresses, as they are published in the OpenID metadata.
    pub public_url: String,
    /// Social sign-in.
    pub social: crate::social::Options,
    /// Mail.
    pub mail: crate::mail::Options,
    /// Secret of the age provider's webhook; without one every webhook is refused.
    pub age_webhook_secret: Option<SecretString>,
    /// Life of a password reset token.
    pub reset_ttl_secs: u32,
    /// Sessions a user may have at once; signing in once more ends the one not used for longest.
    pub sessions_per_user: u32,
    /// Watches of their sessions that a user may have open on one replica.
    pub watches_per_user: u32,
    /// Time after which a watch that had nothing to say sends its state again.
    pub watch_heartbeat_secs: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            access_ttl_secs: 900,
            refresh_ttl_secs: 14 * 86_400,
            admin_ttl_secs: 600,
            internal_ttl_secs: 300,
            refresh_grace_secs: 10,
            algorithm: Algorithm::Rs256,
            rotation_days: 90,
            rotation_min_publish_secs: 60,
            keys_reload_secs: 15,
            master_key: None,
            data_dir: ".coreloop/auth".to_owned(),
            mesh_secret: None,
            invite_required: false,
            lockout_failures: 5,
            lockout_secs: 600,
            address_failures: 50,
            argon2_memory_kib: 19_456,
            argon2_passes: 2,
            hash_threads: 0,
            hash_queue: 128,
            seed: true,
            public_url: "http://127.0.0.1:8080".to_owned(),
            social: crate::social::Options::default(),
            mail: crate::mail::Options::default(),
            age_webhook_secret: None,
            reset_ttl_secs: 1_800,
            sessions_per_user: 20,
            watches_per_user: 8,
            watch_heartbeat_secs: 15,
        }
    }
}

impl Options {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// Every wrong key, value or missing secret, each with its place.
    pub fn read(section: &Section, mode: Mode) -> Result<Self, Errors> {
        section.read_with(|options: &Self, report| options.check(mode, report))
    }

    fn check(&self, mode: Mode, report: &mut Report<'_>) {
        report.within("access_ttl_secs", self.access_ttl_secs, 1, 86_400);
        report.within("refresh_ttl_secs", self.refresh_ttl_secs, 1, 90 * 86_400);
        report.within("admin_ttl_secs", self.admin_ttl_secs, 1, 3_600);
        report.within("internal_ttl_secs", self.internal_ttl_secs, 1, 3_600);
        report.within("refresh_grace_secs", self.refresh_grace_secs, 0, 60);
        report.within("rotation_days", self.rotation_days, 1, 3_650);
        report.within("rotation_min_publish_secs", self.rotation_min_publish_secs, 0, 86_400);
        report.within("keys_reload_secs", self.keys_reload_secs, 1, 3_600);
        report.within("lockout_failures", self.lockout_failures, 1, 100);
        report.within("lockout_secs", self.lockout_secs, 1, 86_400);
        report.within("address_failures", self.address_failures, 1, 100_000);
        report.within("argon2_memory_kib", self.argon2_memory_kib, 7_168, 1_048_576);
        report.within("argon2_passes", self.argon2_passes, 1, 16);
        report.within("hash_threads", self.hash_threads, 0, 256);
        report.within("hash_queue", self.hash_queue, 1, 100_000);
        report.within("sessions_per_user", self.sessions_per_user, 1, 10_000);
        report.within("watches_per_user", self.watches_per_user, 1, 10_000);
        report.within("watch_heartbeat_secs", self.watch_heartbeat_secs, 1, 15);
        report.within("reset_ttl_secs", self.reset_ttl_secs, 60, 86_400);
        if !crate::hashing::meets_owasp(self.argon2_memory_kib, self.argon2_passes) {
            report.refuse("argon2_memory_kib", "with argon2_passes is below OWASP's least (19456 KiB with 2 passes)");
        }
        if self.master_key.as_ref().is_some_and(|key| crate::vault::parse_key(key).is_none()) {
            report.refuse("master_key", "must be 32 bytes in hex or base64");
        }
        self.social.check(mode, report);
        self.mail.check(mode, report);
        if mode == Mode::Production {
            report.require_secret("master_key", self.master_key.as_ref());
            report.require_secret("mesh_secret", self.mesh_secret.as_ref());
        }
    }

    /// With a queue of sign-ins that leaves most of `places` to other calls: one that waits keeps its place.
    #[must_use]
    pub fn with_places(self, places: usize) -> Self {
        let most = u32::try_from(places / 4).unwrap_or(u32::MAX).max(1);
        Self { hash_queue: self.hash_queue.min(most), ..self }
    }

    /// The mesh secret; local mode has a known one, so that processes started apart agree.
    #[must_use]
    pub fn mesh_secret(&self, mode: Mode) -> Option<SecretString> {
        match (&self.mesh_secret, mode) {
            (Some(secret), _) => Some(secret.clone()),
            (None, Mode::Local) => Some(LOCAL_MESH_SECRET.to_owned().into()),
            (None, Mode::Production) => None,
        }
    }

    /// Longest life of any token, for which a retired key must still verify.
    #[must_use]
    pub fn longest_token_secs(&self) -> u32 {
        self.access_ttl_secs.max(self.refresh_ttl_secs).max(self.admin_ttl_secs).max(self.internal_ttl_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_ins_that_wait_leave_most_places_to_others() {
        for (places, queue) in [(100_000, 128), (512, 128), (32, 8), (1, 1)] {
            assert_eq!(Options::default().with_places(places).hash_queue, queue, "{places}");
        }
    }
}
