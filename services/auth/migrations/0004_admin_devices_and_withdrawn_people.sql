-- Devices that administrators have signed in with, second factor and all: their tries are counted apart from strangers',
-- who could lock an administrator out otherwise. Not read from the sessions: an administrator's live for minutes and are
-- swept a day later. Only a digest is kept, and of the newest few; a device that is forgotten is a stranger's, no more.
create table auth.admin_devices (
    user_id uuid        not null constraint admin_devices_user_fkey references auth.users (id) on delete cascade,
    device  bytea       not null,
    used_at timestamptz not null,
    constraint admin_devices_pkey primary key (user_id, device)
);

-- Who withdrew of late: what of their audit was on its way meanwhile is masked a little later.
create index users_withdrawn_idx on auth.users (withdrawn_at) where withdrawn_at is not null;
