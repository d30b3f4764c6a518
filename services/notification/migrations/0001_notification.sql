-- Why: what people are told, how they want to be told it, and what is pushed to which of their devices (chapter 02).
--
-- Rules of this schema
--   * Every constraint is named: the code turns a violated name into the error a caller understands.
--   * Times are written by the service (its clock is injected), not by defaults.
--   * An event is told once: inbox_source_key decides, whoever hears it how often.
--   * Locks are taken in the order people, inbox, devices, pushes. Whoever tells, reads or forgets something of a user has locked
--     the row in people, so that facts of one user are in order.
--   * A device's token stands here sealed alone; its hash finds it. Neither is in any event, fact, command or log.

create table notification.people (
    user_id     uuid       constraint people_pkey primary key,
    -- Kinds of which nothing is told, and kinds that are not pushed; as the contract numbers them.
    inbox_off   smallint[] not null default '{}',
    push_off    smallint[] not null default '{1}',
    -- Empty: as the service is set.
    language    text       not null default '' constraint people_language_known check (language in ('', 'ko', 'en')),
    -- Minutes of the day in the time zone; none: there are no quiet hours.
    quiet_start smallint   constraint people_quiet_start_of_day check (quiet_start between 0 and 1439),
    quiet_end   smallint   constraint people_quiet_end_of_day check (quiet_end between 0 and 1439),
    quiet_zone  text,
    -- The account was closed: nothing is told any more.
    closed      boolean    not null default false,
    constraint people_quiet_whole check (
        (quiet_start is null and quiet_end is null and quiet_zone is null)
        or (quiet_start is not null and quiet_end is not null and quiet_zone is not null and quiet_start <> quiet_end))
);

create table notification.inbox (
    id              uuid        constraint inbox_pkey primary key,
    user_id         uuid        not null,
    -- As the contract numbers it.
    kind            smallint    not null constraint inbox_kind_known check (kind between 1 and 1000),
    -- Which text, and what is filled in: it is rendered in the language of who reads.
    template        text        not null,
    params          jsonb       not null constraint inbox_params_object check (jsonb_typeof(params) = 'object'),
    -- The event that it tells of.
    source_event_id uuid        not null constraint inbox_source_key unique,
    created_at      timestamptz not null,
    read_at         timestamptz
);
create index inbox_user_idx on notification.inbox (user_id, created_at desc, id desc);
create index inbox_unread_idx on notification.inbox (user_id, created_at desc, id desc) where read_at is null;
create index inbox_age_idx on notification.inbox (created_at);

create table notification.devices (
    id            uuid        constraint devices_pkey primary key,
    user_id       uuid        not null,
    -- SHA-256 of the token: one phone is one row, whoever is signed in on it.
    token_hash    bytea       not null constraint devices_token_key unique
        constraint devices_hash_whole check (octet_length(token_hash) = 32),
    -- Nonce, ciphertext, tag; the device's id belongs to it.
    token_sealed  bytea       not null,
    -- Name of the key.
    token_key     text        not null,
    -- As the contract numbers it.
    platform      smallint    not null constraint devices_platform_known check (platform in (1, 2, 3)),
    registered_at timestamptz not null,
    seen_at       timestamptz not null
);
create index devices_user_idx on notification.devices (user_id, seen_at);

-- What is to be pushed, or was. A device may be gone: then nothing is pushed.
create table notification.pushes (
    id              uuid        constraint pushes_pkey primary key,
    notification_id uuid        not null
        constraint pushes_notification_fkey references notification.inbox (id) on delete cascade,
    device_id       uuid        not null,
    user_id         uuid        not null,
    -- 1 waits until due_at, 2 is a command, 3 taken by the gateway, 4 given up, 5 not to be pushed any more.
    state           smallint    not null constraint pushes_state_known check (state in (1, 2, 3, 4, 5)),
    -- Idempotency key of its command: another each time it had to wait.
    command_key     uuid        not null,
    due_at          timestamptz,
    sent_at         timestamptz,
    ended_at        timestamptz,
    -- Why it was given up, or is not to be pushed.
    outcome         text        not null default '',
    -- What the gateway calls it.
    message_name    text        not null default '',
    -- Of the event that it comes of.
    traceparent     text        not null default '',
    request_id      text        not null default '',
    created_at      timestamptz not null,
    constraint pushes_once_key unique (notification_id, device_id),
    constraint pushes_wait_whole check ((state = 1) = (due_at is not null)),
    constraint pushes_sent_whole check ((state = 2) <= (sent_at is not null)),
    constraint pushes_end_whole check ((state in (3, 4, 5)) = (ended_at is not null))
);
create index pushes_user_idx on notification.pushes (user_id);
create index pushes_due_idx on notification.pushes (due_at) where state = 1;
create index pushes_sent_idx on notification.pushes (sent_at) where state = 2;

-- When something that one replica does for all was last done.
create table notification.sweeps (
    name    text        constraint sweeps_pkey primary key,
    done_at timestamptz not null
);
