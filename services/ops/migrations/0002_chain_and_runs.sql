-- Why: who tampers with the audit must show (chapter 08), and what runs in batches must be known: what, when, how it ended.

-- The newest row of the audit. Whoever adds one waits here for whoever adds another: a chain has one end.
create table ops.audit_head (
    only_row boolean constraint audit_head_pkey primary key default true constraint audit_head_one check (only_row),
    seq      bigint  not null default 0,
    hash     bytea   not null default ''
);
insert into ops.audit_head default values;

-- Place, and SHA-256 over the hash of the row before and this one: who changes a row must change all that follow.
alter table ops.audits add column seq bigint, add column hash bytea;

create function ops.audit_word(word text) returns bytea language sql immutable as $$
    select int4send(octet_length(convert_to(word, 'UTF8'))) || convert_to(word, 'UTF8')
$$;
create function ops.audit_hash(before bytea, a ops.audits) returns bytea language sql immutable as $$
    select sha256(before || int8send(a.seq) || uuid_send(a.id) || uuid_send(a.act) || ops.audit_word(a.step)
                  || ops.audit_word(a.actor) || ops.audit_word(a.action) || ops.audit_word(a.subject)
                  || ops.audit_word(a.detail::text) || ops.audit_word(a.request_id) || ops.audit_word(a.trace_id)
                  || int8send((extract(epoch from a.created_at) * 1000000)::bigint))
$$;

-- The database links a row itself, so no writer can forget it.
create function ops.chain_audit() returns trigger language plpgsql as $$
declare
    head ops.audit_head;
begin
    select * into strict head from ops.audit_head for update;
    new.seq := head.seq + 1;
    new.hash := ops.audit_hash(head.hash, new);
    update ops.audit_head set seq = new.seq, hash = new.hash;
    return new;
end
$$;

-- Rows from before there was a chain.
alter table ops.audits disable trigger audits_append_only;
do $$
declare
    old ops.audits;
    head ops.audit_head;
begin
    select * into strict head from ops.audit_head;
    for old in select * from ops.audits order by created_at, id loop
        head.seq := head.seq + 1;
        old.seq := head.seq;
        head.hash := ops.audit_hash(head.hash, old);
        update ops.audits set seq = head.seq, hash = head.hash where id = old.id;
    end loop;
    update ops.audit_head set seq = head.seq, hash = head.hash;
end
$$;
alter table ops.audits enable trigger audits_append_only;
alter table ops.audits alter column seq set not null, alter column hash set not null,
    add constraint audits_seq_key unique (seq);
create trigger audits_chained before insert on ops.audits for each row execute function ops.chain_audit();

-- Searches read from the newest row back.
create index audits_actor_idx on ops.audits (actor, seq);
create index audits_action_idx on ops.audits (action, seq);
create index audits_subject_idx on ops.audits (subject, seq);
create index audits_request_idx on ops.audits (request_id, seq) where request_id <> '';

-- Runs of jobs. `attempts` tells a run's beginnings apart: whoever was thought dead and is not writes nothing any more.
create table ops.runs (
    id         uuid        constraint runs_pkey primary key,
    job        text        not null,
    subject    text        not null,
    state      text        not null constraint runs_state_known check (state in ('asked', 'running', 'done', 'failed')),
    asked_by   text        not null,
    asked_at   timestamptz not null,
    started_at timestamptz,
    ended_at   timestamptz,
    attempts   integer     not null default 0,
    sound      boolean,
    counts     jsonb       not null default '[]',
    findings   jsonb       not null default '[]',
    error      text        not null default '',
    -- The end of the audit when its check ended: whoever cuts rows off it must cut here too.
    audit_seq  bigint,
    audit_hash bytea,
    constraint runs_ended check ((state in ('done', 'failed')) = (ended_at is not null)),
    constraint runs_judged check ((state = 'done') = (sound is not null))
);
-- A job is asked for once at a time on each subject, and one process runs it.
create unique index runs_open_key on ops.runs (job, subject) where state in ('asked', 'running');
create index runs_subject_idx on ops.runs (job, subject, asked_at desc);
create index runs_time_idx on ops.runs (asked_at desc, id desc);
