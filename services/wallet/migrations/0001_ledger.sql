-- Why: the books of chapter 03. What somebody has is what their entries add up to, entries are never changed, and what
-- must hold of them is held here, whatever the service does: a user's account is never below zero, a posting takes as much
-- as it gives, an account says what its newest entry says, a key is one act, a posting is reversed once.
--
-- Rules of this schema
--   * Every constraint is named: the code turns a violated name into the error a caller understands.
--   * Times are written by the service (its clock is injected), not by defaults.
--   * Lock order: accounts by (owner, currency), in `wallet.open`, before anything else. All that changes a hold or reverses
--     a posting locks the accounts that it touches, so holds and postings need no locks of their own. The GOLD account of a
--     user is locked whichever currency moves: the events of a user are numbered in the order of their commits.
--   * Currencies: 1 GOLD, 2 POINT. Kinds and houses: as in the contract.

-- What somebody has. A user's `balance` is `free` and `paid`, which never expire, and what is in their lots (`expiring`).
-- An account of the house is sixteen rows, its balance their sum: each process uses a row of its own, so that nobody
-- waits for anybody because both sell something. `owner` of such a row is made of house and slot, and no user's id.
create table wallet.accounts (
    owner    uuid     not null,
    currency smallint not null constraint accounts_currency_known check (currency in (1, 2)),
    house    smallint constraint accounts_house_known check (house between 1 and 5),
    balance  bigint   not null default 0,
    free     bigint   not null default 0,
    paid     bigint   not null default 0,
    expiring bigint   not null default 0,
    -- Number, hash and time of the newest entry.
    seq      bigint   not null default 0,
    hash     bytea    not null default '',
    last_at  timestamptz not null default '-infinity',
    constraint accounts_pkey primary key (owner, currency),
    constraint accounts_house_owner check ((house is not null) = (owner < '00000000-0000-0000-0000-000000010000')),
    constraint accounts_not_negative check (house is not null or (balance >= 0 and free >= 0 and paid >= 0 and expiring >= 0)),
    constraint accounts_funds check (house is not null or balance = free + paid + expiring)
) with (fillfactor = 80);

insert into wallet.accounts (owner, currency, house)
select ('00000000-0000-0000-0000-00000000' || lpad(to_hex(house * 256 + slot), 4, '0'))::uuid, currency, house
  from generate_series(1, 5) house, generate_series(0, 15) slot, generate_series(1, 2) currency;

-- Value that expires; one row for all that expires at the same time.
create table wallet.lots (
    owner      uuid        not null,
    currency   smallint    not null,
    expires_at timestamptz not null,
    paid       boolean     not null,
    remaining  bigint      not null constraint lots_not_empty check (remaining > 0),
    constraint lots_pkey primary key (owner, currency, expires_at, paid),
    constraint lots_account_fkey foreign key (owner, currency) references wallet.accounts (owner, currency)
);
create index lots_expires_at_idx on wallet.lots (expires_at);

-- Acts: who did what, why, and the answer that they were given. `id` is made of caller and key, so the primary key is what
-- makes a key one act; it is kept for ever.
create table wallet.postings (
    id        uuid        constraint postings_pkey primary key,
    kind      smallint    not null constraint postings_kind_known check (kind between 1 and 10),
    -- Whose key it is: a service of the mesh, `admin`, or `wallet` itself.
    caller    text        not null constraint postings_caller_length check (char_length(caller) between 1 and 100),
    key       text        not null constraint postings_key_length check (char_length(key) between 1 and 255),
    -- Who did it: `service:shop`, `user:<id>` of an administrator, `wallet`.
    actor     text        not null constraint postings_actor_length check (char_length(actor) between 1 and 100),
    reason    text        not null constraint postings_reason_length check (char_length(reason) between 1 and 200),
    reference text        not null constraint postings_reference_length check (char_length(reference) between 1 and 200),
    -- SHA-256 of the request without its key.
    body_hash bytea       not null,
    -- coreloop.wallet.v1.Posting.
    answer    bytea       not null,
    reverses  uuid,
    posted_at timestamptz not null
);
create unique index postings_reverses_key on wallet.postings (reverses) where reverses is not null;

-- Lines of accounts. `hash` is SHA-256 over the hash of the account's entry before, the posting and this line: who changes
-- one must change all that follow, and `accounts.hash`. Append-only.
create table wallet.entries (
    owner         uuid        not null,
    currency      smallint    not null,
    seq           bigint      not null,
    posting       uuid        not null,
    delta         bigint      not null constraint entries_delta_not_zero check (delta <> 0),
    balance_after bigint      not null,
    hash          bytea       not null,
    posted_at     timestamptz not null,
    constraint entries_pkey primary key (owner, currency, seq)
);

-- Value set aside; it is in escrow. `id` is that of the posting.
create table wallet.holds (
    id         uuid        constraint holds_pkey primary key,
    owner      uuid        not null,
    currency   smallint    not null,
    amount     bigint      not null constraint holds_amount_positive check (amount > 0),
    state      text        not null constraint holds_state_known check (state in ('held', 'captured', 'released', 'expired')),
    expires_at timestamptz not null,
    settled_by uuid        constraint holds_settled_by_key unique,
    constraint holds_settled check ((state = 'held') = (settled_by is null))
);
create index holds_expires_at_idx on wallet.holds (expires_at) where state = 'held';
create index holds_owner_idx on wallet.holds (owner, currency) where state = 'held';

-- Locks the accounts of a batch in the order of their keys, makes those that are missing, and answers what is known of
-- them and of postings and holds: two statements, so that the second sees what the first waited for. One trip.
-- Rows: account (owner, currency; balance, free, paid, seq, last_at; hash), lot (owner, currency; expires_at, paid,
-- remaining), posting (id; hash of its body, its answer), reversed (the posting that is), hold (id, currency; amount,
-- expires_at, whether it is open). Times in microseconds.
create function wallet.open(owners uuid[], currencies smallint[], ids uuid[], originals uuid[], held uuid[])
returns table (what text, id uuid, currency smallint, numbers bigint[], bytes bytea, more bytea)
language plpgsql as $$
#variable_conflict use_column
begin
    -- A row that is there is locked and, with a condition that never holds, left as it is.
    insert into wallet.accounts as mine (owner, currency, house)
    select k.owner, k.currency,
           case when k.owner < '00000000-0000-0000-0000-000000010000' then get_byte(uuid_send(k.owner), 14)::smallint end
      from unnest(owners, currencies) as k(owner, currency) order by k.owner, k.currency
    on conflict on constraint accounts_pkey do update set seq = mine.seq where false;

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
    select 'posting', p.id, null, null, p.body_hash, p.answer from wallet.postings p where p.id = any (ids)
    union all
    select 'reversed', p.reverses, null, null, null, null from wallet.postings p where p.reverses = any (originals)
    union all
    select 'hold', h.id, h.currency, array[h.amount, (extract(epoch from h.expires_at) * 1000000)::bigint,
           (h.state = 'held')::int::bigint], null, null
      from wallet.holds h where h.id = any (held);
end
$$;

-- What each statement that writes entries must leave behind.
create function wallet.entries_hold() returns trigger language plpgsql as $$
begin
    if exists (select from written group by posting, currency having sum(delta) <> 0) then
        raise exception 'a posting does not add up to zero'
            using errcode = 'check_violation', constraint = 'entries_balanced';
    end if;
    if exists (
        select from (
            select owner, currency, min(seq) as first, max(seq) as last, count(*) as lines, sum(delta) as moved
              from written group by owner, currency
        ) w
        left join wallet.accounts a on a.owner = w.owner and a.currency = w.currency
        left join wallet.entries e on e.owner = w.owner and e.currency = w.currency and e.seq = w.last
        left join wallet.entries b on b.owner = w.owner and b.currency = w.currency and b.seq = w.first - 1
        where w.last - w.first + 1 <> w.lines
           or (a.seq, a.balance, a.hash) is distinct from (w.last, e.balance_after, e.hash)
           or e.balance_after <> coalesce(b.balance_after, 0) + w.moved
           or (b.seq is null) <> (w.first = 1)
    ) then
        raise exception 'an account does not say what its entries add up to'
            using errcode = 'check_violation', constraint = 'entries_head';
    end if;
    if exists (select from written w where not exists (select from wallet.postings p where p.id = w.posting)) then
        raise exception 'an entry has no posting' using errcode = 'check_violation', constraint = 'entries_posting';
    end if;
    return null;
end
$$;
create trigger entries_hold after insert on wallet.entries
    referencing new table as written for each statement execute function wallet.entries_hold();

create function wallet.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '%.% is append-only', tg_table_schema, tg_table_name using errcode = 'integrity_constraint_violation';
end
$$;
create trigger entries_append_only before update or delete on wallet.entries
    for each row execute function wallet.refuse_change();
create trigger entries_no_truncate before truncate on wallet.entries
    for each statement execute function wallet.refuse_change();
create trigger postings_append_only before update or delete on wallet.postings
    for each row execute function wallet.refuse_change();
create trigger postings_no_truncate before truncate on wallet.postings
    for each statement execute function wallet.refuse_change();
