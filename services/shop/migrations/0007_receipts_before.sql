-- Why: a receipt that was handed out stays ours when its purchase is charged back. Whoever is shown it is told what became of the
-- purchase, and not the same as of a forged one.

-- The receipts of purchases that were opened again: what each had been handed out with when it was CONFIRMED. Of those that were
-- opened before this table none is known.
create table shop.receipts_before (
    purchase_id    uuid        constraint receipts_before_pkey primary key,
    hash_version   smallint    not null,
    integrity_hash bytea       not null,
    key_version    integer     not null,
    signature      bytea       not null,
    issued_at      timestamptz not null
);
