-- Why: a campaign gives gold and an article has a price, so whoever changed them is known, with what was there before.

-- What administrators changed of campaigns, shelf and ads. Append-only; written in the transaction of the change.
create table rewards.changes (
    seq        bigint      generated always as identity constraint changes_pkey primary key,
    -- `campaigns`, `inventory`, `ads`.
    what       text        not null,
    -- Its name there.
    subject    text        not null,
    -- `user:<id>`.
    actor      text        not null,
    -- None of what is new.
    before     jsonb,
    after      jsonb       not null,
    created_at timestamptz not null
);
create index changes_subject_idx on rewards.changes (what, subject, seq);

create trigger changes_append_only before update or delete on rewards.changes
    for each row execute function rewards.refuse_change();
create trigger changes_no_truncate before truncate on rewards.changes
    for each statement execute function rewards.refuse_change();

-- A trigger, so that no statement changes them without it. What is given or set aside changes no `updated_at` and is in
-- `reward_audit`.
create function rewards.note_change() returns trigger language plpgsql as $$
declare
    after jsonb := to_jsonb(new);
begin
    insert into rewards.changes (what, subject, actor, before, after, created_at)
    values (tg_table_name, after ->> tg_argv[0], new.updated_by, case when tg_op = 'UPDATE' then to_jsonb(old) end, after,
            new.updated_at);
    return null;
end
$$;
create trigger campaigns_noted after insert or update of updated_at on rewards.campaigns
    for each row execute function rewards.note_change('id');
create trigger inventory_noted after insert or update of updated_at on rewards.inventory
    for each row execute function rewards.note_change('sku');
create trigger ads_noted after insert or update of updated_at on rewards.ads
    for each row execute function rewards.note_change('id');
