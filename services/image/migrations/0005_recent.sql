-- Why: the newest images of a user are kept in Redis (chapter 02), which may have missed what happened since: what it has counts where
-- it was made at this version.

alter table image.owners
    -- Grows with whoever holds the row to change images of this user.
    add column version bigint not null default 0;
