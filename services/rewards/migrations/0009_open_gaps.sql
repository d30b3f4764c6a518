-- Why: a gap in the audit is told of as long as it is one, also by a process that was started since; so it is known when it is one no
-- more, as of what was pending for long and has ended.

-- When it was a gap no more; none while it is one.
alter table rewards.audit_gaps add column gone_at timestamptz;
create index audit_gaps_open_idx on rewards.audit_gaps (found_at) where gone_at is null;
