-- Why: a click on an ad is worth points, so it is decided here which one is: one a token, one a user, ad and day, and no more points a
-- day than the cap. Days are counted from 1970-01-01 in UTC.

create table rewards.ads (
    id         text        constraint ads_pkey primary key,
    title      text        not null,
    url        text        not null,
    points     bigint      not null constraint ads_points_not_negative check (points >= 0),
    -- Prediction slots of the day that it unlocks.
    slots      integer     not null constraint ads_slots_not_negative check (slots >= 0),
    state      smallint    not null constraint ads_state_known check (state between 1 and 3),
    starts_at  timestamptz,
    ends_at    timestamptz,
    updated_at timestamptz not null,
    updated_by text        not null,
    constraint ads_worth_something check (points > 0 or slots > 0)
);

-- Clicks that were worth something.
create table rewards.ad_clicks (
    token      uuid        constraint ad_clicks_pkey primary key,
    user_id    uuid        not null,
    ad         text        not null constraint ad_clicks_ad_fkey references rewards.ads (id),
    day        integer     not null,
    points     bigint      not null,
    slots      integer     not null,
    clicked_at timestamptz not null,
    constraint ad_clicks_user_ad_day_key unique (user_id, day, ad)
);

-- What a user has had of a day. Locked by each click, so the cap is exact.
create table rewards.ad_days (
    user_id uuid    not null,
    day     integer not null,
    points  bigint  not null constraint ad_days_points_not_negative check (points >= 0),
    constraint ad_days_pkey primary key (user_id, day)
);

-- Prediction slots that a user has besides those that everybody has.
create table rewards.ad_unlocks (
    user_id uuid    not null,
    day     integer not null,
    slots   integer not null constraint ad_unlocks_slots_positive check (slots > 0),
    constraint ad_unlocks_pkey primary key (user_id, day)
);
