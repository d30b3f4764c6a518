-- Why: everything chapter 01 must still know after every process and Redis itself have been lost: accounts and
-- their sign-in methods, sessions (token families), signing keys, revocations, and the records of what happened.
-- Redis holds fast copies of some of it; no table here is read to decide whether a request's token is good.
--
-- Rules of this schema
--   * Every constraint is named: the code turns a violated name into the error a caller understands.
--   * Times are written by the service (its clock is injected), not by defaults.
--   * Secrets are stored hashed (passwords, recovery codes, reset tokens) or sealed with the master key
--     (private keys, TOTP secrets): a copy of this database signs nobody in.
--   * Lock order: users, then sessions, then everything else. `users.event_seq` serialises an account's history.

-- An account. `email` is stored normalised (NFC, trimmed, lower case), so plain uniqueness is case-folded uniqueness.
create table auth.users (
    id                uuid        constraint users_pkey primary key,
    nickname          text        not null constraint users_nickname_length check (char_length(nickname) between 1 and 40),
    email             text        constraint users_email_key unique
                                  constraint users_email_length check (char_length(email) between 3 and 254),
    email_verified    boolean     not null default false,
    profile_image_url text        not null default '' constraint users_image_length check (char_length(profile_image_url) <= 2048),
    roles             text[]      not null default '{STANDARD}'
                                  constraint users_roles_known check (roles <@ array['STANDARD', 'PREMIUM', 'VIP', 'ADMIN'])
                                  constraint users_roles_standard check ('STANDARD' = any (roles)),
    status            text        not null default 'active'
                                  constraint users_status_known check (status in ('active', 'locked', 'withdrawn')),
    birth_date        date,
    age_state         text        not null default 'unknown'
                                  constraint users_age_state_known check (age_state in ('unknown', 'declared', 'verified', 'rejected')),
    -- Sequence number of the account's newest event; incremented under the row's lock.
    event_seq         bigint      not null default 0,
    created_at        timestamptz not null,
    updated_at        timestamptz not null,
    last_login_at     timestamptz,
    withdrawn_at      timestamptz,
    -- A closed account holds no personal data.
    constraint users_withdrawn_erased check (
        status <> 'withdrawn' or (email is null and birth_date is null and profile_image_url = '' and withdrawn_at is not null)
    )
);

-- The password of an account, as a PHC string (Argon2id with its parameters and salt).
create table auth.credentials (
    user_id       uuid        constraint credentials_pkey primary key
                              constraint credentials_user_fkey references auth.users (id) on delete cascade,
    password_hash text        not null constraint credentials_hash_form check (password_hash like '$argon2id$%'),
    changed_at    timestamptz not null
);

-- A linked social account. The pair (provider, id at the provider) belongs to one account at most.
create table auth.social_accounts (
    provider         text        not null constraint social_accounts_provider_form check (provider ~ '^[a-z][a-z0-9_-]{0,31}$'),
    provider_user_id text        not null constraint social_accounts_id_length check (char_length(provider_user_id) between 1 and 255),
    user_id          uuid        not null constraint social_accounts_user_fkey references auth.users (id) on delete cascade,
    email            text        not null default '',
    email_verified   boolean     not null default false,
    linked_at        timestamptz not null,
    last_used_at     timestamptz,
    constraint social_accounts_pkey primary key (provider, provider_user_id)
);
create index social_accounts_user_idx on auth.social_accounts (user_id, linked_at);

-- A session: one sign-in on one device and every token that came of it. Only the newest refresh token is good; any
-- other genuine one of the session is a replay, so no table of old tokens is needed.
create table auth.sessions (
    id                 uuid        constraint sessions_pkey primary key,
    user_id            uuid        not null constraint sessions_user_fkey references auth.users (id) on delete cascade,
    audience           text        not null constraint sessions_audience_known check (audience in ('user', 'admin')),
    method             text        not null,
    provider           text        not null default '',
    device_id          text        not null default '' constraint sessions_device_id_length check (char_length(device_id) <= 128),
    device_name        text        not null default '' constraint sessions_device_name_length check (char_length(device_name) <= 100),
    ip                 text        not null default '',
    user_agent         text        not null default '' constraint sessions_user_agent_length check (char_length(user_agent) <= 512),
    -- How often it was refreshed.
    generation         integer     not null default 0,
    access_jti         uuid        not null constraint sessions_access_jti_key unique,
    access_expires_at  timestamptz not null,
    -- Null for administrators, who have no refresh token.
    refresh_jti        uuid,
    -- The token traded last, who traded it (a hash of the device) and when, and the pair it was traded for, sealed with
    -- a key that only the traded token yields: what a lost reply is answered with for ten seconds.
    traded_jti         uuid,
    traded_by          bytea,
    traded_at          timestamptz,
    traded_pair        bytea,
    created_at         timestamptz not null,
    last_used_at       timestamptz not null,
    expires_at         timestamptz not null,
    ended_at           timestamptz,
    end_reason         text constraint sessions_end_reason_known check (end_reason in
                           ('logout', 'reuse', 'role_changed', 'locked', 'password_changed', 'withdrawn', 'revoked')),
    constraint sessions_end_told check ((ended_at is null) = (end_reason is null))
);
create index sessions_live_idx on auth.sessions (user_id, id desc) where ended_at is null;
create index sessions_device_idx on auth.sessions (user_id, device_id) where device_id <> '';
create index sessions_expiry_idx on auth.sessions (expires_at);

-- What is refused before its time: `id` is a session (`sid`) or a token (`jti`). A row is written in the transaction of
-- the act that caused it; `published_at` tells that the fast form (Redis) has it. Rows are dropped when nothing they
-- name can still be alive.
create table auth.revocations (
    id           uuid        constraint revocations_pkey primary key,
    kind         text        not null constraint revocations_kind_known check (kind in ('session', 'token')),
    user_id      uuid        not null,
    reason       text        not null,
    revoked_at   timestamptz not null,
    expires_at   timestamptz not null,
    published_at timestamptz
);
create index revocations_unpublished_idx on auth.revocations (revoked_at) where published_at is null;
create index revocations_expiry_idx on auth.revocations (expires_at);

-- Signing keys. One active and one next per purpose; a retired key still verifies until `expires_at`.
create table auth.signing_keys (
    kid          text        constraint signing_keys_pkey primary key,
    purpose      text        not null constraint signing_keys_purpose_known check (purpose in ('user', 'admin', 'internal')),
    alg          text        not null constraint signing_keys_alg_known check (alg in ('RS256', 'ES256', 'EdDSA')),
    state        text        not null constraint signing_keys_state_known check (state in ('next', 'active', 'retired')),
    -- PKCS#8, sealed with the master key (AES-256-GCM, the kid as associated data).
    private_key  bytea       not null,
    public_jwk   jsonb       not null,
    created_at   timestamptz not null,
    activated_at timestamptz,
    retired_at   timestamptz,
    expires_at   timestamptz,
    constraint signing_keys_retired_told check ((state = 'retired') = (expires_at is not null))
);
create unique index signing_keys_one_active on auth.signing_keys (purpose) where state = 'active';
create unique index signing_keys_one_next on auth.signing_keys (purpose) where state = 'next';

-- Failed sign-ins by account, device or address (hashed). Unlogged: losing it in a crash forgives at most one
-- window, and a guess costs no disk flush. Counted here and not in Redis so that the limit holds over all replicas
-- with nothing but the database that sign-in needs anyway.
create unlogged table auth.sign_in_guards (
    bucket       bytea         constraint sign_in_guards_pkey primary key,
    -- Tries of the window that have failed or are still undecided.
    tries        timestamptz[] not null,
    -- Tries that are still undecided.
    undecided    integer       not null default 0,
    locked_until timestamptz,
    touched_at   timestamptz   not null
);
create index sign_in_guards_touched_idx on auth.sign_in_guards (touched_at);

-- Invite codes and who used them.
create table auth.invites (
    code       text        constraint invites_pkey primary key constraint invites_code_length check (char_length(code) between 1 and 64),
    max_uses   integer     not null constraint invites_max_uses_positive check (max_uses >= 1),
    used       integer     not null default 0 constraint invites_use_limit check (used between 0 and max_uses),
    expires_at timestamptz,
    created_by uuid,
    created_at timestamptz not null
);
create index invites_newest_idx on auth.invites (created_at desc, code);

create table auth.invite_uses (
    code    text        not null constraint invite_uses_code_fkey references auth.invites (code),
    user_id uuid        not null constraint invite_uses_user_key unique
                        constraint invite_uses_user_fkey references auth.users (id) on delete cascade,
    used_at timestamptz not null,
    constraint invite_uses_pkey primary key (code, user_id)
);

-- What the age provider said, one row an accepted webhook. The state itself is `users.age_state`.
create table auth.age_verifications (
    event_id    text        constraint age_verifications_pkey primary key
                            constraint age_verifications_event_length check (char_length(event_id) between 1 and 128),
    user_id     uuid        not null,
    result      text        not null constraint age_verifications_result_known check (result in ('verified', 'rejected')),
    received_at timestamptz not null
);

-- Second factor of administrators. A code of a step not above `last_used_step` is a replay (RFC 6238, 5.2).
create table auth.totp_secrets (
    user_id        uuid        constraint totp_secrets_pkey primary key
                               constraint totp_secrets_user_fkey references auth.users (id) on delete cascade,
    -- Sealed with the master key, the user id as associated data.
    secret         bytea       not null,
    last_used_step bigint      not null default 0,
    created_at     timestamptz not null
);

create table auth.recovery_codes (
    user_id    uuid        not null constraint recovery_codes_user_fkey references auth.users (id) on delete cascade,
    -- SHA-256 of the code; codes are long and random, so no slow hash is needed.
    code_hash  bytea       not null,
    created_at timestamptz not null,
    used_at    timestamptz,
    constraint recovery_codes_pkey primary key (user_id, code_hash)
);

-- Password reset tokens by SHA-256; used once.
create table auth.password_resets (
    token_hash bytea       constraint password_resets_pkey primary key,
    user_id    uuid        not null constraint password_resets_user_fkey references auth.users (id) on delete cascade,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    used_at    timestamptz
);
create index password_resets_user_idx on auth.password_resets (user_id);
create index password_resets_expiry_idx on auth.password_resets (expires_at);

-- Every try to sign in. Append-only: a row can be masked when its person leaves, and nothing else.
create table auth.login_audits (
    id          uuid        constraint login_audits_pkey primary key,
    user_id     uuid,
    method      text        not null,
    provider    text        not null default '',
    jti         uuid,
    ip          text        not null default '',
    user_agent  text        not null default '',
    outcome     text        not null,
    occurred_at timestamptz not null
);
create index login_audits_user_idx on auth.login_audits (user_id, id desc);

create function auth.refuse_login_audit_change() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and new.ip = '' and new.user_agent = ''
       and (new.id, new.user_id, new.method, new.provider, new.jti, new.outcome, new.occurred_at)
           is not distinct from (old.id, old.user_id, old.method, old.provider, old.jti, old.outcome, old.occurred_at) then
        return new;
    end if;
    raise exception 'auth.login_audits is append-only' using errcode = 'integrity_constraint_violation';
end
$$;
create trigger login_audits_append_only before update or delete on auth.login_audits
    for each row execute function auth.refuse_login_audit_change();
create trigger login_audits_no_truncate before truncate on auth.login_audits
    for each statement execute function auth.refuse_login_audit_change();

-- The history of each account (chapter 06, item 7). Append-only.
create table auth.auth_events (
    event_id        uuid        constraint auth_events_pkey primary key,
    aggregate_type  text        not null,
    aggregate_id    uuid        not null,
    sequence_number bigint      not null constraint auth_events_sequence_positive check (sequence_number >= 1),
    event_type      text        not null,
    payload         jsonb       not null,
    metadata        jsonb       not null default '{}',
    created_at      timestamptz not null,
    constraint auth_events_sequence_key unique (aggregate_type, aggregate_id, sequence_number)
);

create function auth.refuse_event_change() returns trigger language plpgsql as $$
begin
    raise exception 'auth.auth_events is append-only' using errcode = 'integrity_constraint_violation';
end
$$;
create trigger auth_events_append_only before update or delete on auth.auth_events
    for each row execute function auth.refuse_event_change();
create trigger auth_events_no_truncate before truncate on auth.auth_events
    for each statement execute function auth.refuse_event_change();

-- Events on their way out, in the shape of Debezium's outbox event router (chapter 06, item 1).
create table auth.outbox (
    id            uuid        constraint outbox_pkey primary key,
    aggregatetype text        not null,
    aggregateid   text        not null,
    type          text        not null,
    payload       jsonb       not null,
    trace_id      text        not null default '',
    request_id    text        not null default '',
    created_at    timestamptz not null
);
create index outbox_order_idx on auth.outbox (created_at, id);

-- Deliveries already acted on (chapter 06, item 3).
create table auth.processed_events (
    idempotency_key text        constraint processed_events_pkey primary key,
    domain          text        not null,
    processed_at    timestamptz not null,
    result          jsonb       not null default '{}',
    expires_at      timestamptz not null
);
create index processed_events_expiry_idx on auth.processed_events (expires_at);
