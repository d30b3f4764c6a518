-- Why: whoever takes up an interrupted redemption goes on in the trace of the request that asked for it: points that are given
-- back are found by whoever looks for what became of that request.
alter table rewards.redemptions
    -- W3C trace context and id of the request.
    add column traceparent text not null default '',
    add column request_id  text not null default '';
