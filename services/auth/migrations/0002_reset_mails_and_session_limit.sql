-- Mails of password resets that were asked for and are not sent. Whoever asks is answered the same, so a row is kept for
-- every address as it came; whether there is such an account is looked up by who sends. A row is personal data: it goes
-- when its mail is sent, nobody is there to send it to, or its time is over.
create table auth.reset_mails (
    id          uuid        constraint reset_mails_pkey primary key,
    email       text        not null constraint reset_mails_email_length check (char_length(email) between 1 and 1024),
    request_id  text        not null default '',
    asked_at    timestamptz not null,
    -- Whoever takes a row moves this on: until then nobody else takes it, and after a kill somebody does.
    next_try_at timestamptz not null,
    tries       integer     not null default 0,
    -- The reset token, sealed with the master key (the id as associated data): however often it is tried, it is one mail.
    token       bytea
);
create index reset_mails_due_idx on auth.reset_mails (next_try_at);

-- A user's oldest sessions end when there are too many.
alter table auth.sessions drop constraint sessions_end_reason_known;
alter table auth.sessions add constraint sessions_end_reason_known check (end_reason in
    ('logout', 'reuse', 'role_changed', 'locked', 'password_changed', 'withdrawn', 'revoked', 'too_many'));
