-- Why: what a user is to others and to themselves (chapter 02): a profile, whom they follow, what they have recycled on which days,
-- which badges that earned them.
--
-- Rules of this schema
--   * Every constraint is named: the code turns a violated name into the error a caller understands.
--   * Times are written by the service (its clock is injected), not by defaults. Days are of UTC, counted from 1970-01-01.
--   * What happened to a user is in `events` (0003); `footprints`, `categories`, `streaks`, `badges` and the figures of `people` are
--     what it came to, written in the same transaction, and can be made anew of it.
--   * The row of `people` is locked before anything of a user is read to decide or is changed; who looks at another's beside shares
--     that, in the order of their ids. So the changes of a user are in one order, and so are their facts.
--   * A user who closed the account has a row in `people`, and nowhere else. The history names them by id alone.

-- What each user has come to.
create table my.people (
    user_id       uuid    constraint people_pkey primary key,
    -- Number of the last event of the history.
    version       bigint  not null default 0,
    -- Scans that earn something; of these, what could be recycled.
    scans         bigint  not null default 0,
    recycled      bigint  not null default 0,
    tree_milli    bigint  not null default 0,
    water_ml      bigint  not null default 0,
    co2_g         bigint  not null default 0,
    -- Characters, as the newest event of the collection said; its number.
    owned         integer not null default 0,
    owned_version bigint  not null default 0,
    -- The account was closed: nothing is written of its user any more.
    closed        boolean not null default false,
    constraint people_figures_known check (
        scans >= recycled and recycled >= 0 and tree_milli >= 0 and water_ml >= 0 and co2_g >= 0 and owned >= 0
    )
);

-- Events of others that were counted: one is one, for ever, however often and under which id it is told.
create table my.heard (
    -- `scan` (its task), `character` (user and number of the event of the collection).
    source   text not null,
    event_id text not null,
    user_id  uuid not null,
    constraint heard_pkey primary key (source, event_id)
);
create index heard_user_idx on my.heard (user_id);

-- What was recycled on which day, whatever the order in which it is heard.
create table my.footprints (
    user_id    uuid    not null,
    day        integer not null,
    scans      bigint  not null constraint footprints_scans_positive check (scans > 0),
    recycled   bigint  not null,
    tree_milli bigint  not null,
    water_ml   bigint  not null,
    co2_g      bigint  not null,
    constraint footprints_pkey primary key (user_id, day)
);

-- Scans by category.
create table my.categories (
    user_id  uuid   not null,
    category text   not null,
    scans    bigint not null constraint categories_scans_positive check (scans > 0),
    constraint categories_pkey primary key (user_id, category)
);

-- Rows of days of `footprints`: the newest, with its last day, and the longest. Whether the newest still lasts is a matter of when
-- somebody asks.
create table my.streaks (
    user_id  uuid    constraint streaks_pkey primary key,
    run      integer not null,
    last_day integer not null,
    longest  integer not null,
    constraint streaks_known check (run >= 1 and longest >= run)
);

-- Badges that were earned. They stay.
create table my.badges (
    user_id   uuid        not null,
    code      text        not null,
    earned_at timestamptz not null,
    constraint badges_pkey primary key (user_id, code)
);

-- What others see of a user. Made of what auth knows when somebody first asks; from then on changed here, and auth is told.
create table my.profiles (
    user_id    uuid        constraint profiles_pkey primary key,
    nickname   text        not null constraint profiles_nickname_length check (char_length(nickname) between 1 and 40),
    bio        text        not null default '' constraint profiles_bio_length check (char_length(bio) <= 300),
    -- An own upload; none: the picture is not of the image service.
    image_id   uuid,
    image_url  text        not null default '' constraint profiles_image_length check (char_length(image_url) <= 2048),
    joined_at  timestamptz not null,
    -- How often it was changed; and the change that auth knows.
    version    bigint      not null,
    told       bigint      not null constraint profiles_told_known check (told <= version),
    updated_at timestamptz not null
);
create index profiles_untold_idx on my.profiles (updated_at) where told < version;
create index profiles_image_idx on my.profiles (image_id) where image_id is not null;

-- What users have set; who has no row has set nothing.
create table my.preferences (
    user_id        uuid    constraint preferences_pkey primary key,
    public_figures boolean not null
);

-- Who follows whom.
create table my.follows (
    follower    uuid        not null,
    followee    uuid        not null,
    followed_at timestamptz not null,
    constraint follows_pkey primary key (follower, followee),
    constraint follows_not_self check (follower <> followee)
);
create index follows_follower_idx on my.follows (follower, followed_at, followee);
create index follows_followee_idx on my.follows (followee, followed_at, follower);
