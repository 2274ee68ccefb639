-- Mail: what was sent, what became of it, and who must not be written to any more.

-- What somebody wants to be written about: {"scan_complete": true, "quota": true}.
ALTER TABLE user_profiles ADD COLUMN notifications jsonb NOT NULL DEFAULT '{}';

-- One mail; the same occasion twice stays one.
CREATE TABLE mails (
    user_id    text        NOT NULL,
    mail_id    uuid        NOT NULL,
    kind       text        NOT NULL,
    occasion   text        NOT NULL,
    status     text        NOT NULL DEFAULT 'sending'
        CHECK (status IN ('sending', 'sent', 'suppressed', 'refused')),
    message_id text,
    region     text,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at    timestamptz,
    PRIMARY KEY (user_id, mail_id),
    UNIQUE (user_id, kind, occasion)
);
CREATE INDEX mails_by_message ON mails (message_id);
COMMENT ON COLUMN mails.occasion IS 'what it is about, once: a run, a meter and its period';
COMMENT ON COLUMN mails.message_id IS 'of SES, which events about it name';

-- What SES says became of a mail, one row for each address.
CREATE TABLE email_events (
    event_id    text        NOT NULL,
    address_key text        NOT NULL,
    user_id     text,
    message_id  text        NOT NULL,
    event_type  text        NOT NULL,
    detail      jsonb       NOT NULL DEFAULT '{}',
    occurred_at timestamptz NOT NULL,
    PRIMARY KEY (event_id, address_key)
);
CREATE INDEX email_events_of_user ON email_events (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX email_events_of_message ON email_events (message_id);
COMMENT ON COLUMN email_events.address_key IS 'SHA-256 of the mailbox, in hex: enough to recognise it, and no address';

-- Addresses that nothing is sent to. No address stands here, so that the list may outlive an account.
CREATE TABLE suppressed_addresses (
    address_key   text        PRIMARY KEY,
    reason        text        NOT NULL CHECK (reason IN ('bounce', 'complaint', 'operator')),
    suppressed_at timestamptz NOT NULL DEFAULT now()
);
