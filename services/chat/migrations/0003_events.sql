-- Why: the history of each aggregate of chat (chapter 06, item 7), from which its state can be told at any time.
-- `coreloop_eventstore::EventStore::new("chat")` writes and reads it.

create table chat.events (
    event_id        uuid        constraint events_pkey primary key,
    aggregate_type  text        not null,
    aggregate_id    uuid        not null,
    sequence_number bigint      not null constraint events_sequence_positive check (sequence_number >= 1),
    event_type      text        not null,
    payload         jsonb       not null,
    metadata        jsonb       not null default '{}',
    created_at      timestamptz not null,
    -- Two writers who saw the same version: this decides who was first.
    constraint events_sequence_key unique (aggregate_type, aggregate_id, sequence_number)
);

-- What happened is not changed; a mistake is mended by another event.
create function chat.refuse_event_change() returns trigger language plpgsql as $$
begin
    raise exception 'chat.events is append-only' using errcode = 'integrity_constraint_violation';
end
$$;
create trigger events_append_only before update or delete on chat.events
    for each row execute function chat.refuse_event_change();
create trigger events_no_truncate before truncate on chat.events
    for each statement execute function chat.refuse_event_change();

-- An event follows one that is there. Events never go away, so it does not matter who else writes.
create function chat.refuse_event_gap() returns trigger language plpgsql as $$
begin
    if not exists (
        select from chat.events
        where aggregate_type = new.aggregate_type and aggregate_id = new.aggregate_id
          and sequence_number = new.sequence_number - 1
    ) then
        raise exception 'event % of % % follows none', new.sequence_number, new.aggregate_type, new.aggregate_id
            using errcode = 'check_violation', constraint = 'events_no_gap';
    end if;
    return null;
end
$$;
create trigger events_no_gap after insert on chat.events
    for each row when (new.sequence_number > 1) execute function chat.refuse_event_gap();

-- States on the way, so that not all of a history need be read. Each can be made again from `events`: rows of a schema
-- number that no running version uses may be deleted.
create table chat.snapshots (
    aggregate_type  text        not null,
    aggregate_id    uuid        not null,
    -- Of the fold that made it: another fold ignores it.
    schema_number   integer     not null constraint snapshots_schema_positive check (schema_number >= 1),
    sequence_number bigint      not null constraint snapshots_sequence_positive check (sequence_number >= 1),
    -- The event it stands after.
    event_id        uuid        not null constraint snapshots_event_fkey references chat.events (event_id),
    state           jsonb       not null,
    created_at      timestamptz not null,
    constraint snapshots_pkey primary key (aggregate_type, aggregate_id, schema_number, sequence_number)
);

create function chat.refuse_snapshot_change() returns trigger language plpgsql as $$
begin
    raise exception 'a snapshot is made again, not changed' using errcode = 'integrity_constraint_violation';
end
$$;
create trigger snapshots_no_change before update on chat.snapshots
    for each row execute function chat.refuse_snapshot_change();
