-- Why: shown name and image are changed by the service of profiles, which tells each change until it is known here (chapter 02). What
-- is told again, or late, must not bring back what was before: the number of the change says so.
alter table auth.users add column profile_version bigint not null default 0;
