-- Why: being refused is an answer too, and a key that was asked again is given its first answer (chapter 03). What the books
-- refused is a row of `wallet.postings` like any other, found by the same lookup, but for two things: its `answer` is the
-- coreloop.wallet.v1.Refusal, and nothing has moved, so it has no entries and reverses nothing. Its kind is 11.

-- Wider than before, so no row that is there needs to be looked at.
alter table wallet.postings drop constraint postings_kind_known;
alter table wallet.postings
    add constraint postings_kind_known check (kind between 1 and 10 or kind = 11 and reverses is null) not valid;

-- As in 0003; a row of a posting has its kind in `numbers`.
create or replace function wallet.open(owners uuid[], currencies smallint[], ids uuid[], originals uuid[], held uuid[])
returns table (what text, id uuid, currency smallint, numbers bigint[], bytes bytea, more bytea)
language plpgsql set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
    there integer;
begin
    perform from unnest(owners, currencies) as k(owner, currency)
       join wallet.accounts a on a.owner = k.owner and a.currency = k.currency
      order by a.owner, a.currency for no key update of a;
    get diagnostics there = row_count;
    if there < cardinality(owners) then
        -- A row that is there is locked and, with a condition that never holds, left as it is.
        insert into wallet.accounts as mine (owner, currency, house)
        select k.owner, k.currency,
               case when k.owner < '00000000-0000-0000-0000-000000010000' then get_byte(uuid_send(k.owner), 14)::smallint end
          from unnest(owners, currencies) as k(owner, currency) order by k.owner, k.currency
        on conflict on constraint accounts_pkey do update set seq = mine.seq where false;
    end if;

    -- A statement of its own, which sees what the locks waited for.
    return query
    select 'account', a.owner, a.currency,
           array[a.balance, a.free, a.paid, a.seq,
                 case when isfinite(a.last_at) then (extract(epoch from a.last_at) * 1000000)::bigint else 0 end],
           a.hash, null::bytea
      from unnest(owners, currencies) as k(owner, currency)
      join wallet.accounts a on a.owner = k.owner and a.currency = k.currency
    union all
    select 'lot', l.owner, l.currency,
           array[(extract(epoch from l.expires_at) * 1000000)::bigint, l.paid::int::bigint, l.remaining], null, null
      from unnest(owners, currencies) as k(owner, currency)
      join wallet.lots l on l.owner = k.owner and l.currency = k.currency
    union all
    select 'posting', p.id, null, array[p.kind::bigint], p.body_hash, p.answer from wallet.postings p where p.id = any (ids);
    if cardinality(originals) > 0 then
        return query
        select 'reversed', p.reverses, null::smallint, null::bigint[], null::bytea, null::bytea
          from wallet.postings p where p.reverses = any (originals);
    end if;
    if cardinality(held) > 0 then
        return query
        select 'hold', h.id, h.currency,
               array[h.amount, (extract(epoch from h.expires_at) * 1000000)::bigint, (h.state = 'held')::int::bigint],
               null::bytea, null::bytea
          from wallet.holds h where h.id = any (held);
    end if;
end
$$;

-- As in 0003; what was refused is no posting that a line could be of.
create or replace function wallet.entries_hold() returns trigger
language plpgsql set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
begin
    if exists (select from written group by posting, currency having sum(delta) <> 0) then
        raise exception 'a posting does not add up to zero'
            using errcode = 'check_violation', constraint = 'entries_balanced';
    end if;
    if exists (
        select from (
            select owner, currency, seq, delta, balance_after, hash,
                   lag(seq) over lines as seq_before, lag(balance_after) over lines as balance_before,
                   lead(seq) over lines is null as newest
              from written window lines as (partition by owner, currency order by seq)
        ) w
        -- Only the newest line of an account is compared with it, only the first with the line before: a null finds nothing.
        left join wallet.accounts a on a.owner = case when w.newest then w.owner end and a.currency = w.currency
        left join wallet.entries b
               on b.owner = case when w.seq_before is null then w.owner end and b.currency = w.currency and b.seq = w.seq - 1
        where w.seq <> 1 + coalesce(w.seq_before, b.seq, 0)
           or w.balance_after <> w.delta + coalesce(w.balance_before, b.balance_after, 0)
           or w.newest and (a.seq, a.balance, a.hash) is distinct from (w.seq, w.balance_after, w.hash)
    ) then
        raise exception 'an account does not say what its entries add up to'
            using errcode = 'check_violation', constraint = 'entries_head';
    end if;
    if exists (
        select from (select distinct posting from written) w
         where not exists (select from wallet.postings p where p.id = w.posting and p.kind <> 11)
    ) then
        raise exception 'an entry has no posting' using errcode = 'check_violation', constraint = 'entries_posting';
    end if;
    return null;
end
$$;
