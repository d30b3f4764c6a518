-- Why: what users and the model have said to each other, and what that took (chapter 02).
--
-- Rules of this schema
--   * Every constraint is named: the code turns a violated name into the error a caller understands.
--   * Times are written by the service (its clock is injected), not by defaults.
--   * What is said stands in `messages` alone: in no event, fact, command, log or note of what was done.
--   * Locks are taken in the order users, conversations, messages, usage. Whoever changes messages of a conversation holds its row, so
--     that they are numbered and told in order; whoever begins something of a user holds the row of the user, so that nothing begins
--     beside the end of an account and no limit of a user is overrun.
--   * An answer ends once for each time that it is asked for: `command_id` says which time.

create table chat.users (
    user_id      uuid constraint users_pkey primary key,
    -- The account is closed: nothing of theirs is kept any more.
    withdrawn_at timestamptz
);

-- What answers took of the model, in tokens, by user and day (UTC). What is being given counts as `reserved` says until it is known.
create table chat.usage (
    user_id uuid   not null,
    day     date   not null,
    tokens  bigint not null constraint usage_tokens_known check (tokens >= 0),
    constraint usage_pkey primary key (user_id, day)
);
create index usage_day_idx on chat.usage (day);

create table chat.conversations (
    id         uuid        constraint conversations_pkey primary key,
    user_id    uuid        not null constraint conversations_user_id_fkey references chat.users (user_id),
    title      text        not null default '',
    -- Of the request; none where it had none.
    key        text,
    -- Messages ever: the number of the last one.
    messages   bigint      not null default 0,
    created_at timestamptz not null,
    -- When something was asked last.
    updated_at timestamptz not null,
    constraint conversations_user_key_key unique (user_id, key)
);
create index conversations_user_idx on chat.conversations (user_id, updated_at desc, id desc);

create table chat.messages (
    id              uuid        constraint messages_pkey primary key,
    conversation_id uuid        not null
        constraint messages_conversation_id_fkey references chat.conversations (id) on delete cascade,
    user_id         uuid        not null,
    seq             bigint      not null constraint messages_seq_positive check (seq >= 1),
    -- As the contract numbers it.
    role            smallint    not null constraint messages_role_known check (role in (1, 2)),
    text            text        not null default '',
    image_id        uuid,
    -- An image came with it, and was removed since.
    image_gone      boolean     not null default false,
    -- Of the request; none where it had none.
    key             text,
    -- As the contract numbers it.
    state           smallint    not null constraint messages_state_known check (state in (1, 2, 3)),
    created_at      timestamptz not null,
    done_at         timestamptz,
    -- Of an answer: what it answers.
    question_id     uuid,
    failure         text        not null default '',
    truncated       boolean     not null default false,
    -- How often it was asked for, by which command last, and when.
    attempt         integer     not null default 0,
    command_id      uuid,
    sent_at         timestamptz,
    -- What it counts as in `usage` of that day until it is known.
    reserved        bigint      not null default 0,
    reserved_on     date,
    -- What it took, in tokens.
    prompt_tokens   bigint      not null default 0,
    answer_tokens   bigint      not null default 0,
    constraint messages_seq_key unique (conversation_id, seq),
    constraint messages_key_key unique (conversation_id, key),
    constraint messages_answer_whole check ((role = 2) = (question_id is not null)
        and (role = 2) = (command_id is not null) and (role = 2) = (sent_at is not null)),
    constraint messages_said check (role = 2 or text <> '' or image_id is not null or image_gone),
    constraint messages_end_whole check ((state = 1) = (done_at is null)),
    constraint messages_failure_whole check ((state = 3) = (failure <> '')),
    constraint messages_questions_done check (role = 2 or state = 2),
    constraint messages_reserved_whole check (reserved >= 0 and (reserved = 0 or (state = 1 and reserved_on is not null)))
);
create index messages_open_idx on chat.messages (user_id) where state = 1;
create index messages_sent_idx on chat.messages (sent_at) where state = 1;
create index messages_image_idx on chat.messages (image_id) where image_id is not null;
