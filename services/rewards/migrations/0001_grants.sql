-- Why: what was promised to a user must be given in the end, once, whatever is killed in between. A grant is written before
-- anybody else is asked, so it is known and finished by whoever comes next.
--
-- Rules of this schema
--   * Every constraint is named: the code turns a violated name into the error a caller understands.
--   * Times are written by the service (its clock is injected), not by defaults.
--   * What moves from one state to the next does so by one statement that says from which (`where state = …`): of two who try,
--     one does.
--   * Lock order: campaign, grant. Kinds and states are numbered as in the contract.

-- What some users may fetch for themselves.
create table rewards.campaigns (
    id         text        constraint campaigns_pkey primary key,
    kind       smallint    not null constraint campaigns_kind_known check (kind between 1 and 6),
    amount     bigint      not null constraint campaigns_amount_positive check (amount > 0),
    item       text        not null,
    state      smallint    not null constraint campaigns_state_known check (state between 1 and 3),
    starts_at  timestamptz,
    ends_at    timestamptz,
    -- 0: no limit.
    max_grants bigint      not null constraint campaigns_max_not_negative check (max_grants >= 0),
    granted    bigint      not null default 0 constraint campaigns_granted_not_negative check (granted >= 0),
    updated_at timestamptz not null,
    updated_by text        not null
);

-- What was promised. `id` is made of source and external event, so the primary key is what makes an event one grant.
create table rewards.grants (
    id                uuid        constraint grants_pkey primary key,
    -- Whose events: `service:scan`, `admin:<id>`, `user:<id>` who fetches from a campaign, `ads`.
    source            text        not null,
    external_event_id text        not null constraint grants_event_length check (char_length(external_event_id) between 1 and 200),
    -- SHA-256 of what was asked.
    body_hash         bytea       not null,
    campaign          text        constraint grants_campaign_fkey references rewards.campaigns (id),
    user_id           uuid        not null,
    kind              smallint    not null constraint grants_kind_known check (kind between 1 and 6),
    amount            bigint      not null constraint grants_amount_positive check (amount > 0),
    item              text        not null,
    reason            text        not null,
    state             smallint    not null constraint grants_state_known check (state between 1 and 3),
    -- Why it cannot be given.
    refusal           text        not null default '',
    -- The wallet's, of gold and points that were given.
    posting           uuid,
    created_at        timestamptz not null,
    ended_at          timestamptz,
    -- When the recovery looks at it, if it is pending then.
    due_at            timestamptz not null,
    constraint grants_source_event_key unique (source, external_event_id),
    constraint grants_ended check ((state = 1) = (ended_at is null)),
    constraint grants_posted check ((posting is not null) = (state = 2 and kind in (1, 2)))
);
create index grants_due_idx on rewards.grants (due_at) where state = 1;
-- A campaign gives to each once; what could not be given may be fetched again.
create unique index grants_campaign_user_key on rewards.grants (campaign, user_id) where campaign is not null and state <> 3;

-- Who was given what, asked by whom, and what became of it. Append-only; written in the transaction of what it tells of.
create table rewards.reward_audit (
    seq        bigint      generated always as identity constraint reward_audit_pkey primary key,
    -- The grant, redemption or click.
    subject    uuid        not null,
    step       text        not null,
    -- `service:scan`, `user:<id>`, `rewards`.
    actor      text        not null,
    user_id    uuid        not null,
    detail     jsonb       not null,
    created_at timestamptz not null,
    constraint reward_audit_step_key unique (subject, step)
);

-- What the sweep found missing in the audit, each once.
create table rewards.audit_gaps (
    subject  uuid        not null,
    what     text        not null,
    found_at timestamptz not null,
    constraint audit_gaps_pkey primary key (subject, what)
);

create function rewards.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '%.% is append-only', tg_table_schema, tg_table_name using errcode = 'integrity_constraint_violation';
end
$$;
create trigger reward_audit_append_only before update or delete on rewards.reward_audit
    for each row execute function rewards.refuse_change();
create trigger reward_audit_no_truncate before truncate on rewards.reward_audit
    for each statement execute function rewards.refuse_change();
