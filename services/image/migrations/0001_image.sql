-- Why: which photos there are, whose, and what storage said of them when they were registered (chapter 02).
--
-- Rules of this schema
--   * Every constraint is named: the code turns a violated name into the error a caller understands.
--   * Times are written by the service (its clock is injected), not by defaults.
--   * An image has the id that its object key has, so that the primary key is what makes an upload one image.
--   * Whoever changes images of a user holds the row of the user in `owners`, and takes it first: what is told of a user is told in
--     the order in which it happened, and nothing is registered beside the end of an account.
--   * What tells where somebody was (gps), and with which device, stands here alone: in no event, no fact, no log.

create table image.owners (
    user_id      uuid constraint owners_pkey primary key,
    -- The account is closed: nothing of theirs is registered any more.
    withdrawn_at timestamptz
);

create table image.images (
    id             uuid        constraint images_pkey primary key,
    user_id        uuid        not null constraint images_user_id_fkey references image.owners (user_id),
    object_key     text        not null constraint images_object_key_key unique,
    -- What storage calls the content, without quotes.
    etag           text        not null,
    mime_type      text        not null,
    content_length bigint      not null constraint images_content_length_positive check (content_length > 0),
    device_id      text        not null default '',
    gps_lat        double precision,
    gps_lng        double precision,
    shot_at        timestamptz,
    -- 1 there, 2 to be removed.
    state          smallint    not null constraint images_state_known check (state in (1, 2)),
    created_at     timestamptz not null,
    constraint images_gps_whole check ((gps_lat is null) = (gps_lng is null))
);
create index images_user_idx on image.images (user_id, created_at desc, id desc) where state = 1;
