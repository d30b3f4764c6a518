-- Why: points are taken and a piece of the stock set aside before a vendor is asked, who may answer late, never, or no. What was
-- taken is given back exactly once when nothing comes of it, so every step is written down before the next is begun.

-- What can be had for points. `stock` is what is left; a piece that is set aside is not in it.
create table rewards.inventory (
    sku         text        constraint inventory_pkey primary key,
    title       text        not null,
    description text        not null,
    -- As the vendor names it.
    vendor_sku  text        not null,
    price       bigint      not null constraint inventory_price_positive check (price > 0),
    stock       bigint      not null constraint inventory_stock_not_negative check (stock >= 0),
    state       smallint    not null constraint inventory_state_known check (state between 1 and 3),
    starts_at   timestamptz,
    ends_at     timestamptz,
    updated_at  timestamptz not null,
    updated_by  text        not null
);

-- 1 reserved (a piece is set aside), 2 paid (the vendor is to be asked), 3 issued, 4 returning (the piece is back, the points are
-- on their way), 5 failed (the points are back), 6 cancelled (never paid, the piece is back). `id` is made of user and key.
create table rewards.redemptions (
    id          uuid        constraint redemptions_pkey primary key,
    user_id     uuid        not null,
    key         text        not null,
    sku         text        not null constraint redemptions_sku_fkey references rewards.inventory (sku),
    vendor_sku  text        not null,
    price       bigint      not null constraint redemptions_price_positive check (price > 0),
    state       smallint    not null constraint redemptions_state_known check (state between 1 and 6),
    -- Why it came to nothing.
    reason      text        not null default '',
    -- The wallet's postings.
    spent       uuid        constraint redemptions_spent_key unique,
    returned    uuid        constraint redemptions_returned_key unique,
    order_id    text        not null default '',
    -- AES-256-GCM, with the id of the redemption as associated data; the name of the key.
    code_sealed bytea,
    code_key    text        not null default '',
    created_at  timestamptz not null,
    paid_at     timestamptz,
    ended_at    timestamptz,
    -- When the recovery looks at it, if it has not ended.
    due_at      timestamptz not null,
    constraint redemptions_user_key unique (user_id, key),
    constraint redemptions_paid check ((spent is null) = (state in (1, 6))),
    constraint redemptions_issued check ((code_sealed is not null) = (state = 3)),
    constraint redemptions_returned check ((returned is not null) = (state = 5)),
    constraint redemptions_ended check ((ended_at is not null) = (state in (3, 5, 6)))
);
create index redemptions_due_idx on rewards.redemptions (due_at) where state in (1, 2, 4);
create index redemptions_user_idx on rewards.redemptions (user_id, created_at desc, id desc);
