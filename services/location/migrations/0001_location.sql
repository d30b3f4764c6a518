-- Why: which shops are near somebody, what people keep of them, and who was there (chapter 02).
--
-- Rules of this schema
--   * Every constraint is named: the code turns a violated name into the error a caller understands.
--   * Times are written by the service (its clock is injected), not by defaults.
--   * A shop has an id that is made of what its provider calls it, so whoever sees it first gives it the id that everybody else does.
--   * Whoever writes favourites or visits of a user holds the row of the user in `owners`, and takes it first: nothing is kept beside the
--     end of an account. Shops are written in the order of their ids.
--   * Where somebody is stands nowhere: a visit is a shop and a day.

create table location.shops (
    id           uuid             constraint shops_pkey primary key,
    provider     text             not null,
    provider_id  text             not null,
    name         text             not null,
    category     text             not null default '',
    phone        text             not null default '',
    address      text             not null default '',
    road_address text             not null default '',
    url          text             not null default '',
    lat          double precision not null constraint shops_lat_on_globe check (lat between -90 and 90),
    lng          double precision not null constraint shops_lng_on_globe check (lng between -180 and 180),
    -- As `src/hours.rs` reads it; empty: not known. No provider says it.
    hours        text             not null default '',
    tags         text[]           not null default '{}',
    -- It answers when the provider does not.
    seeded       boolean          not null default false,
    updated_at   timestamptz      not null,
    constraint shops_provider_key unique (provider, provider_id)
);
create index shops_seeded_idx on location.shops (lat, lng) where seeded;

create table location.owners (
    user_id      uuid constraint owners_pkey primary key,
    -- The account is closed: nothing of theirs is kept any more.
    withdrawn_at timestamptz
);

create table location.favorites (
    user_id    uuid        not null constraint favorites_user_id_fkey references location.owners (user_id),
    shop_id    uuid        not null constraint favorites_shop_id_fkey references location.shops (id),
    created_at timestamptz not null,
    constraint favorites_pkey primary key (user_id, shop_id)
);
create index favorites_newest_idx on location.favorites (user_id, created_at desc, shop_id desc);

create table location.visits (
    id      uuid        constraint visits_pkey primary key,
    user_id uuid        not null constraint visits_user_id_fkey references location.owners (user_id),
    shop_id uuid        not null constraint visits_shop_id_fkey references location.shops (id),
    -- In UTC.
    day     date        not null,
    at      timestamptz not null,
    constraint visits_once_a_day unique (user_id, shop_id, day)
);
-- Of the last hour, for how crowded a shop is.
create index visits_shop_idx on location.visits (shop_id, at);

-- Calls of the provider that replicas may make, by day in Korea: raised before they are made.
create table location.quota (
    day     date   constraint quota_pkey primary key,
    granted bigint not null constraint quota_not_negative check (granted >= 0),
    -- Of these, what was granted last.
    more    bigint not null constraint quota_more_of_granted check (more between 0 and granted)
);

-- Places where things are taken back, as the last file had them.
create table location.sites (
    id      text             constraint sites_pkey primary key,
    name    text             not null,
    kind    text             not null,
    address text             not null default '',
    lat     double precision not null constraint sites_lat_on_globe check (lat between -90 and 90),
    lng     double precision not null constraint sites_lng_on_globe check (lng between -180 and 180),
    hours   text             not null default '',
    tags    text[]           not null default '{}'
);
create index sites_place_idx on location.sites (lat, lng);

-- Which loading of sites it is: an index in Redis of another is made anew.
create table location.sites_loaded (
    only_row  boolean     constraint sites_loaded_pkey primary key default true constraint sites_loaded_one check (only_row),
    version   bigint      not null default 0,
    loaded_at timestamptz
);
insert into location.sites_loaded default values;
