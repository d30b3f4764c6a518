-- Why: photos have smaller copies, made by a command after they were registered (chapter 02).
--
-- When a command was sent is noted without the owner's row: rows of others are taken for it, and those that somebody holds are left
-- out, so nobody waits.

alter table image.images
    -- As the contract numbers it: 1 to be made, 2 there, 3 none of this format, 4 they cannot be made.
    add column thumbnails smallint not null default 1 constraint images_thumbnails_known check (thumbnails between 1 and 4),
    -- When the command that makes them was written; none: the row waits.
    add column thumbnails_sent_at timestamptz;
create index images_unsent_idx on image.images (created_at) where state = 1 and thumbnails = 1 and thumbnails_sent_at is null;
create index images_sent_idx on image.images (thumbnails_sent_at)
    where state = 1 and thumbnails = 1 and thumbnails_sent_at is not null;
