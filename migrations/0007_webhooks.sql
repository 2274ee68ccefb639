-- What comes from outside, and who pays for what.

-- Everything that a provider told us, once, as it was verified. The body stays: what it changes is worked out
-- from all events about one subject, so that their order of arrival does not matter.
CREATE TABLE webhook_events (
    provider     text        NOT NULL CHECK (provider IN ('stripe', 'sns')),
    event_id     text        NOT NULL CHECK (event_id <> ''),
    user_id      text,
    event_type   text        NOT NULL,
    subject      text        NOT NULL DEFAULT '',
    occurred_at  timestamptz NOT NULL,
    body         text        NOT NULL,
    received_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at timestamptz,
    handled_at   timestamptz,
    outcome      text        CHECK (outcome IN ('applied', 'ignored', 'waiting', 'failed')),
    reason       text,
    PRIMARY KEY (provider, event_id)
);
CREATE INDEX webhook_events_by_age ON webhook_events (received_at DESC, provider, event_id);
CREATE INDEX webhook_events_of_subject ON webhook_events (provider, subject, occurred_at);
CREATE INDEX webhook_events_of_user ON webhook_events (user_id) WHERE user_id IS NOT NULL;
COMMENT ON COLUMN webhook_events.user_id IS 'whom it is about, once that is known';
COMMENT ON COLUMN webhook_events.subject IS 'what it is about over there: Stripe''s customer';
COMMENT ON COLUMN webhook_events.published_at IS 'null where the bus did not take it yet: the provider sends it again';
COMMENT ON COLUMN webhook_events.outcome IS 'waiting: for an event that says whose it is';
COMMENT ON COLUMN webhook_events.reason IS 'one sentence for an operator';

-- What somebody has subscribed to, as far as events have told.
ALTER TABLE user_profiles
    ADD COLUMN stripe_customer_id      text UNIQUE,
    ADD COLUMN subscription_status     text,
    ADD COLUMN subscription_period_end timestamptz,
    ADD COLUMN subscription_cancels    boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN user_profiles.subscription_status IS 'Stripe''s word; null where there never was a subscription';
COMMENT ON COLUMN user_profiles.subscription_cancels IS 'whether it ends with its period';
