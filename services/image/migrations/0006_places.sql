-- Why: what is sent to a place that was signed and is never registered must not stay in storage (chapter 02: an upload is pending for
-- as long as its place is good).
--
-- A row is gone when its upload is registered, in that transaction: whoever is first, that or the note that the object is removed, holds
-- the row, and the other finds it so. The row stays for a while after the first removal: a registration that had asked storage before it
-- comes to nothing, and what was sent meanwhile goes at the second.

create table image.places (
    image_id   uuid        constraint places_pkey primary key,
    user_id    uuid        not null,
    object_key text        not null,
    -- When the object is removed, or removed again.
    due_at     timestamptz not null,
    -- When it was removed first.
    removed_at timestamptz
);
create index places_due_idx on image.places (due_at);
create index places_user_idx on image.places (user_id);
