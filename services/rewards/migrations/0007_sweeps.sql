-- Why: a look for gaps that reads everything takes longer with every day, and what takes longer than a statement may is not seen.
-- So most looks are at what is young, and one a day is at everything.
create index grants_created_idx on rewards.grants using brin (created_at);
create index redemptions_created_idx on rewards.redemptions using brin (created_at);
create index reward_audit_created_idx on rewards.reward_audit using brin (created_at);
-- What was cancelled, for whoever asks the wallet whether it took points after all.
create index redemptions_cancelled_idx on rewards.redemptions (ended_at) where state = 6;

-- When something that one replica does for all was last done.
create table rewards.sweeps (
    name    text        constraint sweeps_pkey primary key,
    done_at timestamptz not null
);
