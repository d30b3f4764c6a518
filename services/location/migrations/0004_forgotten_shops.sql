-- Why: whatever somebody searches for is written down, so that it is found by its id; what nobody keeps and no search finds any more
-- is to go again. `updated_at` of a shop is when it changed, or was met last, to the day.

-- A shop goes when nobody keeps it: who keeps it is found by it. Where there are many favourites this one is built beforehand,
-- `concurrently` (docs/operations.md): nobody keeps a shop while it is here.
create index if not exists favorites_shop_idx on location.favorites (shop_id);
-- The oldest that may go. Of many shops it is built beforehand, too.
create index if not exists shops_unmet_idx on location.shops (updated_at, id) where not seeded and hours = '' and tags = '{}';

-- When something that one replica does for all was last done.
create table location.sweeps (
    name    text        constraint sweeps_pkey primary key,
    done_at timestamptz not null
);
