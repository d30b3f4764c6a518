-- Why: chat has messages answered by commands, tells that they were, and hears of photos that are gone (chapter 06). As
-- crates/eventing/tables.sql has it.

-- Events on their way out, in the shape of Debezium's outbox event router.
-- Rows are numbered when they are written and seen when they are committed, so the relay asks for missing numbers until
-- their transactions must have ended. That needs each transaction to have its own number before its row has one: `xid`
-- stands before `seq`, and defaults are computed in that order.
create table chat.outbox (
    -- Consumers tell events apart by it; nobody finds rows by it.
    id            uuid        not null,
    aggregatetype text        not null,
    aggregateid   text        not null,
    type          text        not null,
    payload       jsonb       not null,
    trace_id      text        not null default '',
    request_id    text        not null default '',
    created_at    timestamptz not null,
    version       integer     not null default 1,
    traceparent   text        not null default '',
    xid           xid8        not null default pg_current_xact_id(),
    seq           bigint      not null generated always as identity constraint outbox_pkey primary key
);

-- How far the outbox is published: everything up to `read_to` but for the numbers in the gaps.
create table chat.outbox_relay (
    only_row  boolean  constraint outbox_relay_pkey primary key default true constraint outbox_relay_one check (only_row),
    read_to   bigint   not null default 0,
    gaps_from bigint[] not null default '{}',
    gaps_to   bigint[] not null default '{}',
    -- Batches ever: a broker that knows of fewer has lost some.
    batches   bigint   not null default 0
);
insert into chat.outbox_relay default values;

-- 1 while the relay sleeps until a commit wakes it, 0 while it looks by itself. A sequence is one row, written in place and seen
-- at once by everybody, whatever their snapshot.
create sequence chat.outbox_listening minvalue 0 maxvalue 1 start 1;

-- The commit of any writer wakes a relay that sleeps, and only that: commits that notify wait for each other, all over the
-- server.
create function chat.outbox_wake() returns trigger language plpgsql as $$
begin
    if (select last_value = 1 from chat.outbox_listening) then
        perform pg_notify('chat_outbox', '');
    end if;
    return null;
end
$$;
create trigger outbox_wake after insert on chat.outbox for each statement execute function chat.outbox_wake();

-- Events and commands that were acted on.
create table chat.processed_events (
    idempotency_key text        constraint processed_events_pkey primary key,
    domain          text        not null,
    processed_at    timestamptz not null,
    result          jsonb       not null default '{}',
    expires_at      timestamptz not null
);
create index processed_events_expiry_idx on chat.processed_events (expires_at);

-- Those that are to be tried again (`retry`), that came after such an event of their key (`waiting`), that no try could
-- help (`dead`), and dead ones that nobody touched for an hour (`archived`).
create table chat.held_events (
    consumer text        not null,
    id       uuid        not null,
    position bigint      not null generated always as identity,
    topic    text        not null,
    key      text        not null,
    envelope jsonb       not null,
    payload  bytea       not null,
    state    text        not null constraint held_events_state_known check (state in ('retry', 'waiting', 'dead', 'archived')),
    failures integer     not null default 0,
    reason   text        not null default '',
    error    text        not null default '',
    held_at  timestamptz not null,
    due_at   timestamptz not null,
    constraint held_events_pkey primary key (consumer, id)
);
create index held_events_live_idx on chat.held_events (consumer, key, position) where state in ('retry', 'waiting');
create index held_events_dead_idx on chat.held_events (consumer, position) where state in ('dead', 'archived');
