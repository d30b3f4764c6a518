-- Why: which characters there are, who has which, and what has been counted for those that are locked (chapter 02).
--
-- Rules of this schema
--   * Every constraint is named: the code turns a violated name into the error a caller understands.
--   * Times are written by the service (its clock is injected), not by defaults.
--   * What happened to a collection is in `events` (0003); the tables here are what it came to, written in the same transaction.
--   * The row of `collections` is locked before anything of a user is read to decide or is changed; then grants, counters, days,
--     the history, ownership. So the changes of a user are in one order, and so are their facts.
--   * A user who closed the account has a row in `collections`, and nowhere else.

create table character.catalogue (
    code       text        constraint catalogue_pkey primary key,
    name_en    text        not null,
    name_ko    text        not null,
    lore_en    text        not null,
    lore_ko    text        not null,
    label_en   text        not null,
    label_ko   text        not null,
    -- As schema/unlock.json has it.
    unlock     jsonb       not null,
    -- Scans that grant it.
    categories text[]      not null,
    -- What the condition counts for level 2, 3 and so on.
    evolves_at integer[]   not null,
    position   integer     not null,
    active     boolean     not null,
    updated_at timestamptz not null,
    -- `user:<id>`, or `seed`.
    updated_by text        not null
);

-- What was changed of the catalogue. Append-only; written in the transaction of the change.
create table character.changes (
    seq        bigint      generated always as identity constraint changes_pkey primary key,
    -- `catalogue`.
    what       text        not null,
    -- Its code.
    subject    text        not null,
    -- `user:<id>`, or `seed`.
    actor      text        not null,
    -- None of what is new.
    before     jsonb,
    after      jsonb       not null,
    created_at timestamptz not null
);
create index changes_subject_idx on character.changes (what, subject, seq);

create function character.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '%.% is append-only', tg_table_schema, tg_table_name using errcode = 'integrity_constraint_violation';
end
$$;
create trigger changes_append_only before update or delete on character.changes
    for each row execute function character.refuse_change();
create trigger changes_no_truncate before truncate on character.changes
    for each statement execute function character.refuse_change();

-- A trigger, so that no statement changes the catalogue without it.
create function character.note_change() returns trigger language plpgsql as $$
declare
    after jsonb := to_jsonb(new);
begin
    insert into character.changes (what, subject, actor, before, after, created_at)
    values (tg_table_name, after ->> tg_argv[0], new.updated_by, case when tg_op = 'UPDATE' then to_jsonb(old) end, after,
            new.updated_at);
    return null;
end
$$;
create trigger catalogue_noted after insert or update of updated_at on character.catalogue
    for each row execute function character.note_change('code');

-- What each collection has come to.
create table character.collections (
    user_id        uuid    constraint collections_pkey primary key,
    owned          integer not null default 0 constraint collections_owned_known check (owned >= 0),
    -- Number of the last event of its history.
    version        bigint  not null default 0,
    -- The longest row of days with a scan.
    longest_streak integer not null default 0,
    -- The account was closed: nothing comes into it any more.
    closed         boolean not null default false
);

-- Who has what. The primary key is what makes a second one of the same impossible.
create table character.ownership (
    user_id     uuid        not null,
    code        text        not null,
    level       integer     not null constraint ownership_level_known check (level >= 1),
    source      text        not null,
    acquired_at timestamptz not null,
    -- None: for good.
    expires_at  timestamptz,
    constraint ownership_pkey primary key (user_id, code)
);
create index ownership_expiry_idx on character.ownership (expires_at) where expires_at is not null;

-- Eligible scans of a user, by category.
create table character.counters (
    user_id  uuid   not null,
    category text   not null,
    value    bigint not null constraint counters_value_positive check (value > 0),
    constraint counters_pkey primary key (user_id, category)
);

-- Days (of UTC, from 1970-01-01) on which a user had an eligible scan, whatever the order in which they are heard.
create table character.days (
    user_id uuid    not null,
    day     integer not null,
    constraint days_pkey primary key (user_id, day)
);

-- Events of others that were decided on, given or refused: one is one, for ever.
create table character.grants (
    -- `scan`, `reward`, `campaign:<machine>`.
    source     text        not null,
    event_id   text        not null,
    user_id    uuid        not null,
    body_hash  bytea       not null,
    -- What was given; empty: nothing.
    code       text        not null default '',
    -- Why nothing was; empty: something was.
    refusal    text        not null default '',
    created_at timestamptz not null,
    constraint grants_pkey primary key (source, event_id)
);
create index grants_user_idx on character.grants (user_id);

-- As crates/idempotency has it.
create table character.idempotency_keys (
    user_id    uuid        not null,
    rpc        text        not null,
    key        text        not null,
    body_hash  bytea       not null,
    answer     bytea,
    claimed_at timestamptz not null,
    expires_at timestamptz not null,
    constraint idempotency_keys_pkey primary key (user_id, rpc, key)
);
create index idempotency_keys_expires_at_idx on character.idempotency_keys (expires_at);
