-- Why: which photos are to be classified, what they show, and what that earns (chapter 02).
--
-- Rules of this schema
--   * Every constraint is named: the code turns a violated name into the error a caller understands.
--   * Times are written by the service (its clock is injected), not by defaults.
--   * An image is one task, and so is a key of a user: the unique constraints decide who was first.
--   * A task ends once: whoever ends it has locked its row. Locks are taken in the order tasks, earned, daily.
--   * Whoever begins a task, or forgets a user, holds the user first (an advisory lock): nothing begins beside the end of an account.
--   * What a user says and addresses of photos stand here alone: in no event, no fact, no log.

create table scan.tasks (
    id              uuid        constraint tasks_pkey primary key,
    user_id         uuid        not null,
    -- None: given by an address.
    image_id        uuid        constraint tasks_image_key unique,
    image_url       text        not null default '',
    -- What storage calls the photo's content; empty: not known.
    etag            text        not null default '',
    user_input      text        not null default '',
    -- Of the request; none where the image names it.
    key             text,
    -- As the contract numbers it.
    state           smallint    not null constraint tasks_state_known check (state in (1, 2, 3)),
    -- Events of its history.
    version         bigint      not null default 0,
    -- As the contract numbers it; 0: no result.
    category        smallint    not null default 0 constraint tasks_category_known check (category between 0 and 14),
    sub_category    text        not null default '',
    confidence      double precision not null default 0
        constraint tasks_confidence_share check (confidence between 0 and 1),
    guidance        text        not null default '',
    recyclable      boolean     not null default false,
    reward_eligible boolean     not null default false,
    -- As the contract numbers it; 0: no result.
    reward_status   smallint    not null default 0 constraint tasks_reward_known check (reward_status between 0 and 4),
    reward_reason   text        not null default '',
    failure         text        not null default '',
    -- On which it came, in UTC.
    day             date        not null,
    created_at      timestamptz not null,
    done_at         timestamptz,
    -- When its command was written; none: it waits here, or for a worker outside of the mesh.
    sent_at         timestamptz,
    -- Until when such a worker has it, and how often one had.
    leased_until    timestamptz,
    pulls           integer     not null default 0,
    -- Of the call that it came by.
    traceparent     text        not null default '',
    request_id      text        not null default '',
    constraint tasks_user_key_key unique (user_id, key),
    constraint tasks_photo_given check (image_id is not null or image_url <> ''),
    constraint tasks_result_whole check ((state = 2) = (category > 0)),
    constraint tasks_end_whole check ((state = 1) = (done_at is null))
);
create index tasks_user_idx on scan.tasks (user_id, created_at desc, id desc);
create index tasks_user_category_idx on scan.tasks (user_id, category, created_at desc, id desc) where category > 0;
create index tasks_waiting_idx on scan.tasks (created_at) where state = 1 and sent_at is null;
create index tasks_sent_idx on scan.tasks (sent_at) where state = 1 and sent_at is not null;

-- Users who closed their account: nothing of theirs begins any more, however late it is heard of.
create table scan.departed (
    user_id     uuid        constraint departed_pkey primary key,
    departed_at timestamptz not null
);

-- Contents that have earned something, by user: the same photo sent again earns nothing.
create table scan.earned (
    user_id uuid not null,
    etag    text not null,
    task_id uuid not null,
    constraint earned_pkey primary key (user_id, etag)
);

-- Results by user, day (UTC) and category.
create table scan.daily (
    user_id    uuid     not null,
    day        date     not null,
    category   smallint not null constraint daily_category_known check (category between 1 and 14),
    total      bigint   not null,
    recyclable bigint   not null,
    constraint daily_pkey primary key (user_id, day, category)
);
