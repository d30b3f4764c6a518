-- Why: an administrator's change of a price or a code moves value as a purchase does, so who made it, why, and what was there
-- before is kept beside it. What a sweep found is told of once, whoever looks again.

-- What administrators changed: products, promo codes, settlement by hand. Append-only; written in the transaction of the change.
-- Rules against fraud have `fraud_changes`.
create table shop.changes (
    seq        bigint      not null generated always as identity constraint changes_pkey primary key,
    -- `product`, `promo`, `settlement`.
    what       text        not null,
    -- Which: its id, its code, the purchase.
    subject    text        not null,
    changed_by uuid        not null,
    -- In their words, where they are asked.
    reason     text        not null,
    -- None of what is new.
    before     jsonb,
    after      jsonb       not null,
    changed_at timestamptz not null
);
create index changes_subject_idx on shop.changes (what, subject, seq);
create trigger changes_append_only before update or delete on shop.changes
    for each row execute function shop.refuse_change();
create trigger changes_no_truncate before truncate on shop.changes
    for each statement execute function shop.refuse_change();

-- An item that does nothing takes GOLD for nothing. What was put in before this rule stays as it is.
alter table shop.products add constraint products_effect check (category = 1 or effect <> '') not valid;

-- When something that one replica does for all was last done.
create table shop.sweeps (
    name    text        constraint sweeps_pkey primary key,
    done_at timestamptz not null
);

-- Purchases whose receipt was found not to fit, each once.
create table shop.receipt_mismatches (
    purchase_id uuid        constraint receipt_mismatches_pkey primary key,
    found_at    timestamptz not null
);

-- As 0003 has it, but payment handles are looked for among the newest thousand purchases of a subject: a device that a crowd
-- names is no reason to read all that the crowd bought, under a lock.
create or replace function shop.open(
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
                   when a.subject = 1 then array(select distinct c.payment_handle from (select p.payment_handle from shop.purchases p
                        where p.user_id = a.value::uuid and p.category = 1 and p.payment_handle <> '' and p.created_at > a.since
                        order by p.created_at desc limit 1000) c)
                   else array(select distinct c.payment_handle from (select p.payment_handle from shop.purchases p
                        where p.device_id = a.value and p.device_id <> '' and p.category = 1 and p.payment_handle <> ''
                          and p.created_at > a.since order by p.created_at desc limit 1000) c) end
          from asked a where a.kind = 2
        union all
        select 'excused', e.user_id, null, null, null, null
          from shop.fraud_excuses e where e.user_id = any (buyers) and e.until > moment;
    end if;
    return query select * from shop.open(ids, stocked, holders, held, users, codes);
end
$$;
