-- Why: what a sweep found is told of as long as it is so, also by a process that was started since; so it is known when it is so no
-- more. Webhooks are kept for as long as one could come again, and no longer. And what is owed, and what could be charged back, is
-- looked for.

-- When the receipt fitted again; none while it does not.
alter table shop.receipt_mismatches add column gone_at timestamptz;
create index receipt_mismatches_open_idx on shop.receipt_mismatches (found_at) where gone_at is null;

create index webhooks_received_idx on shop.webhooks (received_at);
-- Where there are many purchases these two are built beforehand, `concurrently` (docs/operations.md): nothing is bought while they are here.
create index if not exists purchases_owed_idx on shop.purchases (closed_at, id) where owed > 0;
create index if not exists purchases_given_idx on shop.purchases (closed_at, id) where category = 1 and state = 3;
