-- Why: what buys GOLD can be stolen, and what is stolen is used often and fast. Rules say how much is too much; they are data, so
-- that they can be changed while somebody is at it, and tried in the shadow before they refuse anybody.
--
-- A rule counts what was written down, under a lock on whom it counts, in the transaction that writes down: of purchases that
-- come at the very same time no more are let through than of purchases one after the other.

-- velocity: no more than `most` purchases of a category by one subject within the window.
-- methods: no further payment handle of one subject that has used `most` within the window.
-- What was refused by a rule is not written down, so it is not counted; what failed otherwise is.
create table shop.fraud_rules (
    id          text     constraint fraud_rules_pkey primary key
                         constraint fraud_rules_id_shape check (id ~ '^[A-Z][A-Z0-9_]{0,63}$'),
    category    smallint not null constraint fraud_rules_category_known check (category in (1, 2)),
    -- 1 velocity, 2 methods.
    kind        smallint not null constraint fraud_rules_kind_known check (kind in (1, 2)),
    -- 1 user, 2 device, 3 payment handle.
    subject     smallint not null constraint fraud_rules_subject_known check (subject in (1, 2, 3)),
    window_secs integer  not null constraint fraud_rules_window check (window_secs between 1 and 2592000),
    most        integer  not null constraint fraud_rules_most check (most between 1 and 10000),
    -- 1 off; 2 shadow: what it would refuse is noted; 3 enforce: that is refused.
    mode        smallint not null constraint fraud_rules_mode_known check (mode in (1, 2, 3)),
    updated_at  timestamptz not null,
    -- Only conversions are paid with a handle, and a handle is one payment method.
    constraint fraud_rules_handles check (category = 1 or (kind = 1 and subject <> 3)),
    constraint fraud_rules_methods check (kind = 1 or (subject <> 3 and most <= 100))
);
insert into shop.fraud_rules (id, category, kind, subject, window_secs, most, mode, updated_at) values
    ('USER_PER_MINUTE',   1, 1, 1,    60,  30, 3, 'epoch'),
    ('USER_PER_DAY',      1, 1, 1, 86400, 300, 3, 'epoch'),
    ('DEVICE_PER_HOUR',   1, 1, 2,  3600, 100, 3, 'epoch'),
    ('HANDLE_PER_HOUR',   1, 1, 3,  3600, 100, 2, 'epoch'),
    ('METHODS_OF_USER',   1, 2, 1, 86400,   5, 3, 'epoch'),
    ('METHODS_OF_DEVICE', 1, 2, 2, 86400,  10, 2, 'epoch');

-- Whom the rules do not refuse for a while, because an administrator said so. They are counted and noted as anybody.
create table shop.fraud_excuses (
    user_id    uuid        constraint fraud_excuses_pkey primary key,
    until      timestamptz not null,
    reason     text        not null constraint fraud_excuses_reason_length check (char_length(reason) between 1 and 200),
    excused_by uuid        not null,
    updated_at timestamptz not null
);

-- What rules met, kept for ninety days.
create table shop.fraud_hits (
    seq        bigint      not null generated always as identity constraint fraud_hits_pkey primary key,
    rule       text        not null,
    mode       smallint    not null,
    -- Refused: enforced, and nobody said otherwise.
    refused    boolean     not null,
    user_id    uuid        not null,
    product_id text        not null,
    device_id  text        not null,
    -- What the rule counted before it, at least.
    seen       bigint      not null,
    hit_at     timestamptz not null
);
create index fraud_hits_user_idx on shop.fraud_hits (user_id, seq);
create index fraud_hits_hit_at_idx on shop.fraud_hits (hit_at);

-- Who changed a rule or excused somebody: append-only.
create table shop.fraud_changes (
    seq        bigint      not null generated always as identity constraint fraud_changes_pkey primary key,
    -- The rule, or the user who is excused.
    subject    text        not null,
    changed_by uuid        not null,
    before     jsonb,
    after      jsonb       not null,
    changed_at timestamptz not null
);
create function shop.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '%.% is append-only', tg_table_schema, tg_table_name using errcode = 'integrity_constraint_violation';
end
$$;
create trigger fraud_changes_append_only before update or delete on shop.fraud_changes
    for each row execute function shop.refuse_change();
create trigger fraud_changes_no_truncate before truncate on shop.fraud_changes
    for each statement execute function shop.refuse_change();

-- Rules may be of items, too.
drop index shop.purchases_device_idx;
create index purchases_device_idx on shop.purchases (device_id, created_at) where device_id <> '';

-- As shop.open of six, which replicas of the version before still call; before it, what the rules that are on have counted of
-- those who ask. Each of `buyers`, `devices`, `handles`, `categories` is of one order.
-- Rows before those of shop.open: rule (name; category, kind, subject, window_secs, most, mode), seen (name: rule; count;
-- subject, then its payment handles), excused (id: user).
-- Lock order: subjects by bucket, then as shop.open. A bucket is one of 256, so a batch never holds more locks than that.
create function shop.open(
    ids uuid[], stocked text[], holders uuid[], held text[], users uuid[], codes text[],
    buyers uuid[], devices text[], handles text[], categories smallint[], moment timestamptz)
returns table (what text, id uuid, name text, numbers bigint[], bytes bytea, words text[])
language plpgsql as $$
#variable_conflict use_column
begin
    if exists (select from shop.fraud_rules r where r.mode > 1 and r.category = any (categories)) then
        perform pg_advisory_xact_lock(1936224112, b.bucket) from (
            select distinct hashtext(r.subject || ':' || s.value) & 255 as bucket
              from unnest(buyers, devices, handles, categories) as o(buyer, device, handle, category)
              join shop.fraud_rules r on r.category = o.category and r.mode > 1
             cross join lateral (select case r.subject when 1 then o.buyer::text when 2 then o.device else o.handle end) s(value)
             where s.value <> '' order by 1
        ) b;
        return query
        with asked as (
            select distinct r.id, r.category, r.kind, r.subject, r.most, moment - make_interval(secs => r.window_secs) as since, s.value
              from unnest(buyers, devices, handles, categories) as o(buyer, device, handle, category)
              join shop.fraud_rules r on r.category = o.category and r.mode > 1
             cross join lateral (select case r.subject when 1 then o.buyer::text when 2 then o.device else o.handle end) s(value)
             where s.value <> ''
        )
        select 'rule', null::uuid, r.id,
               array[r.category::bigint, r.kind::bigint, r.subject::bigint, r.window_secs::bigint, r.most::bigint, r.mode::bigint],
               null::bytea, null::text[]
          from shop.fraud_rules r where r.mode > 1 and r.category = any (categories)
        union all
        select 'seen', null, a.id, array[case
                   when a.subject = 1 then (select count(*) from (select from shop.purchases p where p.user_id = a.value::uuid
                        and p.category = a.category and p.created_at > a.since limit a.most) c)
                   when a.subject = 2 then (select count(*) from (select from shop.purchases p where p.device_id = a.value
                        and p.device_id <> '' and p.category = a.category and p.created_at > a.since limit a.most) c)
                   else (select count(*) from (select from shop.purchases p where p.payment_handle = a.value
                        and p.payment_handle <> '' and p.category = 1 and a.category = 1 and p.created_at > a.since
                        limit a.most) c) end],
               null, array[a.value]
          from asked a where a.kind = 1
        union all
        select 'seen', null, a.id, array[0::bigint], null, array[a.value] || case
                   when a.subject = 1 then array(select distinct p.payment_handle from shop.purchases p
                        where p.user_id = a.value::uuid and p.category = 1 and p.payment_handle <> '' and p.created_at > a.since
                        limit 1000)
                   else array(select distinct p.payment_handle from shop.purchases p
                        where p.device_id = a.value and p.device_id <> '' and p.category = 1 and p.payment_handle <> ''
                          and p.created_at > a.since limit 1000) end
          from asked a where a.kind = 2
        union all
        select 'excused', e.user_id, null, null, null, null
          from shop.fraud_excuses e where e.user_id = any (buyers) and e.until > moment;
    end if;
    return query select * from shop.open(ids, stocked, holders, held, users, codes);
end
$$;
