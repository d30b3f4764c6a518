-- Why: a purchase moves value in one service because of a row in another, and either may die in between. So a purchase is
-- written down before anything moves, everything that moves is named by its id, and what it ends as is written once.
--
-- Rules of this schema
--   * Every constraint is named: the code turns a violated name into the error a caller understands.
--   * Times are written by the service (its clock is injected), not by defaults.
--   * Lock order: stock by product, holdings by (user, product), promos by code, promo_uses by (code, user), all in
--     `shop.open`; then the purchase.
--   * Categories: 1 conversion, 2 item. States: 1 created, 2 pending, 3 confirmed, 4 voided, 5 failed. As in the contract.

create table shop.products (
    id             text     constraint products_pkey primary key
                            constraint products_id_shape check (id ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    category       smallint not null constraint products_category_known check (category in (1, 2)),
    name           text     not null constraint products_name_length check (char_length(name) between 1 and 100),
    -- GOLD for an item, external points for a conversion.
    price          bigint   not null constraint products_price_positive check (price > 0),
    -- What a conversion gives.
    gold           bigint   not null default 0 constraint products_gold_not_negative check (gold >= 0),
    bonus          bigint   not null default 0 constraint products_bonus_not_negative check (bonus >= 0),
    -- What an item does.
    effect         text     not null default '',
    effect_amount  bigint   not null default 0,
    effect_secs    bigint   not null default 0,
    limit_once     boolean  not null default false,
    -- 0: no limit.
    per_user_limit integer  not null default 0 constraint products_per_user_limit check (per_user_limit >= 0),
    starts_at      timestamptz,
    ends_at        timestamptz,
    active         boolean  not null default true,
    updated_at     timestamptz not null,
    constraint products_kind check ((category = 1 and gold > 0 and effect = '') or (category = 2 and gold = 0 and bonus = 0))
);

-- Pieces of limited packages. `taken` are sold or reserved: a purchase that fails gives its piece back.
create table shop.stock (
    product_id text   constraint stock_pkey primary key constraint stock_product_fkey references shop.products (id),
    total      bigint not null constraint stock_total_not_negative check (total >= 0),
    taken      bigint not null default 0 constraint stock_taken_not_negative check (taken >= 0)
) with (fillfactor = 50);

-- What users have of products that are limited for each; also the lock of their purchases of them.
create table shop.holdings (
    user_id    uuid   not null,
    product_id text   not null,
    taken      bigint not null default 0 constraint holdings_taken_not_negative check (taken >= 0),
    constraint holdings_pkey primary key (user_id, product_id)
);

-- Promo codes. Kinds: 1 percents off the price, 2 GOLD on top.
create table shop.promos (
    code       text     constraint promos_pkey primary key,
    kind       smallint not null constraint promos_kind_known check (kind in (1, 2)),
    value      bigint   not null constraint promos_value check (value > 0 and (kind <> 1 or value < 100)),
    -- Empty: for all.
    products   text[]   not null default '{}',
    -- 0: no limit.
    max_uses   bigint   not null default 0,
    per_user   bigint   not null default 0,
    used       bigint   not null default 0 constraint promos_used_not_negative check (used >= 0),
    starts_at  timestamptz,
    ends_at    timestamptz,
    updated_at timestamptz not null,
    constraint promos_not_overused check (max_uses = 0 or used <= max_uses)
);
create table shop.promo_uses (
    code    text   not null,
    user_id uuid   not null,
    used    bigint not null default 0 constraint promo_uses_used_not_negative check (used >= 0),
    constraint promo_uses_pkey primary key (code, user_id)
);

-- Purchases. `id` is made of user, product and key, so the primary key is what makes such a key one purchase; it is kept for
-- ever. What is open has a time at which somebody looks after it (`next_at`).
create table shop.purchases (
    id             uuid     constraint purchases_pkey primary key,
    user_id        uuid     not null,
    product_id     text     not null,
    key            text     not null constraint purchases_key_length check (char_length(key) between 1 and 128),
    -- SHA-256 of the request without its key.
    body_hash      bytea    not null,
    -- coreloop.shop.v1.Product, as it was sold.
    product        bytea    not null,
    category       smallint not null constraint purchases_category_known check (category in (1, 2)),
    state          smallint not null constraint purchases_state_known check (state between 1 and 5),
    -- What is to be paid, and what is to be given in GOLD, with the promo code.
    price          bigint   not null constraint purchases_price_positive check (price > 0),
    gold           bigint   not null default 0 constraint purchases_gold_not_negative check (gold >= 0),
    bonus          bigint   not null default 0 constraint purchases_bonus_not_negative check (bonus >= 0),
    promo          text     not null default '',
    -- What it took, to be given back should it fail.
    took_stock     boolean  not null default false,
    took_holding   boolean  not null default false,
    payment_handle text     not null default '',
    device_id      text     not null default '',
    -- Conversions: what the payment service calls it, what was decided (3 confirmed, 4 voided, 5 failed) and by whom,
    -- and whether GOLD is given before that.
    payment_id     text     not null default '',
    verdict        smallint constraint purchases_verdict_known check (verdict between 3 and 5),
    said_by        text     not null default '',
    granting       boolean  not null default false,
    -- What is taken back of it where not all is there.
    claw           bigint   constraint purchases_claw_not_negative check (claw >= 0),
    -- How it ended.
    reason         text     not null default '',
    detail         text     not null default '',
    balance        bigint,
    owed           bigint   not null default 0 constraint purchases_owed_not_negative check (owed >= 0),
    hash_version   smallint,
    integrity_hash bytea,
    key_version    integer,
    signature      bytea,
    created_at     timestamptz not null,
    closed_at      timestamptz,
    next_at        timestamptz,
    tries          integer  not null default 0,
    trace_id       text     not null default '',
    traceparent    text     not null default '',
    request_id     text     not null default '',
    constraint purchases_open check ((state < 3) = (next_at is not null)),
    constraint purchases_closed check ((state < 3) = (closed_at is null)),
    constraint purchases_receipt check ((state in (3, 4)) = (signature is not null))
) with (fillfactor = 70);
create index purchases_next_at_idx on shop.purchases (next_at) where next_at is not null;
create index purchases_user_idx on shop.purchases (user_id, created_at);
create index purchases_device_idx on shop.purchases (device_id, created_at) where device_id <> '' and category = 1;
create index purchases_handle_idx on shop.purchases (payment_handle, created_at) where payment_handle <> '' and category = 1;

-- What items did: once a purchase.
create table shop.effects (
    purchase_id   uuid   constraint effects_pkey primary key,
    user_id       uuid   not null,
    code          text   not null,
    amount        bigint not null,
    duration_secs bigint not null,
    applied_at    timestamptz not null
);
create index effects_user_idx on shop.effects (user_id, code, applied_at);

-- Webhooks that were taken: each once.
create table shop.webhooks (
    event_id    text constraint webhooks_pkey primary key
                     constraint webhooks_event_length check (char_length(event_id) between 1 and 128),
    purchase_id uuid not null,
    status      text not null,
    received_at timestamptz not null
);

-- Keys that receipts are signed with: made of a secret of the settings and the salt, so neither alone forges one.
create table shop.receipt_keys (
    version      integer constraint receipt_keys_pkey primary key,
    salt         bytea   not null constraint receipt_keys_salt_length check (octet_length(salt) = 32),
    state        text    not null constraint receipt_keys_state_known check (state in ('next', 'active', 'retired')),
    created_at   timestamptz not null,
    activated_at timestamptz
);
create unique index receipt_keys_one_active on shop.receipt_keys ((true)) where state = 'active';
create unique index receipt_keys_one_next on shop.receipt_keys ((true)) where state = 'next';

-- Locks what limits a batch's purchases in the order above, makes what is missing, and answers what is known of it and of
-- the purchases. One trip.
-- Rows: purchase (id; state, created_at in microseconds; hash of its body), stock (name: product; total, taken), holding
-- (id: user, name: product; taken), promo (name: code; kind, value, max_uses, per_user, used, starts_at, ends_at; products),
-- use (id: user, name: code; used).
create function shop.open(ids uuid[], stocked text[], holders uuid[], held text[], users uuid[], codes text[])
returns table (what text, id uuid, name text, numbers bigint[], bytes bytea, words text[])
language plpgsql as $$
#variable_conflict use_column
begin
    if cardinality(stocked) > 0 then
        perform from shop.stock s where s.product_id = any (stocked) order by s.product_id for update;
    end if;
    if cardinality(holders) > 0 then
        insert into shop.holdings as mine (user_id, product_id)
        select h.u, h.p from unnest(holders, held) as h(u, p) order by h.u, h.p
        on conflict on constraint holdings_pkey do update set taken = mine.taken where false;
    end if;
    if cardinality(codes) > 0 then
        perform from shop.promos p where p.code = any (codes) order by p.code for update;
        insert into shop.promo_uses as mine (code, user_id)
        select u.c, u.u from unnest(users, codes) as u(u, c) join shop.promos p on p.code = u.c order by u.c, u.u
        on conflict on constraint promo_uses_pkey do update set used = mine.used where false;
    end if;

    return query
    select 'purchase', p.id, null::text, array[p.state::bigint, (extract(epoch from p.created_at) * 1000000)::bigint],
           p.body_hash, null::text[]
      from shop.purchases p where p.id = any (ids)
    union all
    select 'stock', null, s.product_id, array[s.total, s.taken], null, null
      from shop.stock s where s.product_id = any (stocked)
    union all
    select 'holding', h.user_id, h.product_id, array[h.taken], null, null
      from unnest(holders, held) as k(u, p) join shop.holdings h on h.user_id = k.u and h.product_id = k.p
    union all
    select 'promo', null, p.code,
           array[p.kind::bigint, p.value, p.max_uses, p.per_user, p.used,
                 coalesce((extract(epoch from p.starts_at) * 1000000)::bigint, -9223372036854775808),
                 coalesce((extract(epoch from p.ends_at) * 1000000)::bigint, 9223372036854775807)],
           null, p.products
      from shop.promos p where p.code = any (codes)
    union all
    select 'use', u.user_id, u.code, array[u.used], null, null
      from unnest(users, codes) as k(u, c) join shop.promo_uses u on u.user_id = k.u and u.code = k.c;
end
$$;

-- The first catalogue: four conversions and five items.
insert into shop.products (id, category, name, price, gold, bonus, effect, effect_amount, effect_secs, limit_once, updated_at) values
    ('gold-100',         1, '100 gold',             1000,   100,    0, '',                    0,      0, false, 'epoch'),
    ('gold-500',         1, '500 gold',             4800,   500,   25, '',                    0,      0, false, 'epoch'),
    ('gold-1000',        1, '1,000 gold',           9200,  1000,  100, '',                    0,      0, false, 'epoch'),
    ('gold-5000',        1, '5,000 gold',          44000,  5000,  750, '',                    0,      0, false, 'epoch'),
    ('xp-boost-1d',      2, 'XP boost for a day',    100,     0,    0, 'XP_BOOST',            2,  86400, false, 'epoch'),
    ('xp-boost-7d',      2, 'XP boost for a week',   500,     0,    0, 'XP_BOOST',            2, 604800, false, 'epoch'),
    ('streak-shield',    2, 'Streak shield',         150,     0,    0, 'STREAK_SHIELD',       1,      0, false, 'epoch'),
    ('spins-5',          2, 'Five spins',             80,     0,    0, 'SPINS',               5,      0, false, 'epoch'),
    ('battle-pass',      2, 'Battle pass premium',   980,     0,    0, 'BATTLE_PASS_PREMIUM', 1,      0, true,  'epoch');
