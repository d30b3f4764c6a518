-- Why: who asked what of the mesh and what came of it must be known after every process and Redis itself have been lost.

-- Two rows an act: `asked` before it is done, `done` or `failed` after. An act without its second row may have happened.
create table ops.audits (
    id         uuid        constraint audits_pkey primary key,
    act        uuid        not null,
    step       text        not null constraint audits_step_known check (step in ('asked', 'done', 'failed')),
    actor      text        not null,
    action     text        not null,
    subject    text        not null,
    detail     jsonb       not null,
    request_id text        not null,
    trace_id   text        not null,
    created_at timestamptz not null
);
create index audits_time_idx on ops.audits (created_at, id);
create unique index audits_asked_once on ops.audits (act) where step = 'asked';
create unique index audits_ended_once on ops.audits (act) where step <> 'asked';

create function ops.refuse_audit_change() returns trigger language plpgsql as $$
begin
    raise exception 'ops.audits is append-only' using errcode = 'integrity_constraint_violation';
end
$$;
create trigger audits_append_only before update or delete on ops.audits
    for each row execute function ops.refuse_audit_change();
create trigger audits_no_truncate before truncate on ops.audits
    for each statement execute function ops.refuse_audit_change();
