-- Why: what a batch costs Postgres beside its rows. Profiled with purchases of many wallets, a batch of 128 and of one spent
-- a fifth and a third of its time in `wallet.open`, and a quarter in the check of entries. The promises are as they were.
--
-- Both keep their plans as long as a connection lives, and make them when its first batch comes, perhaps into empty tables: all
-- they do is find rows by keys, so they are told to use indexes.

-- As in 0001, but for the way to the locks: rows that are there, which is nearly always all of them, are locked by a plain
-- select in the order of their keys, a third to a half cheaper than an insert that finds each of them in its way. Only where
-- one is missing are they asked for again, and made. Two processes that make each other's accounts at that moment may then
-- cross; Postgres finds that out, and the service tries again.
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
    select 'posting', p.id, null, null, p.body_hash, p.answer from wallet.postings p where p.id = any (ids);
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

-- As in 0001; a posting is looked for once, not once a line, and a line that was just written is not read back.
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
         where not exists (select from wallet.postings p where p.id = w.posting)
    ) then
        raise exception 'an entry has no posting' using errcode = 'check_violation', constraint = 'entries_posting';
    end if;
    return null;
end
$$;
