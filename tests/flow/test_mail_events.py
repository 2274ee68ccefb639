"""What became of mail, told by SNS to the HTTP API of the stack, as it is told on AWS."""

import json

from shared.mailboxes import address_key
from tests.fakes import ses_events, sns
from tests.flow.people import Person
from tests.flow.test_flow import rows
from tests.local.running import Running, wait_until

ADDRESS = "nobody.there@example.com"


def test_what_sns_posts_is_verified_by_its_certificate_and_ends_on_the_list(
    system: Running, anna: Person
) -> None:
    anna.get("/me")
    topics = system.client("sns")
    (topic,) = [
        each["TopicArn"] for each in topics.list_topics()["Topics"] if "MailTopic" in each["TopicArn"]
    ]
    event = ses_events.bounce(user_id=anna.sub, to=ADDRESS)
    told = topics.publish(TopicArn=topic, Message=json.dumps(event))

    (came,) = wait_until(
        lambda: rows(
            system,
            "SELECT * FROM webhook_events WHERE event_id = %s AND outcome IS NOT NULL",
            told["MessageId"],
        )
    )
    assert (came["provider"], came["event_type"], came["outcome"]) == ("sns", "Bounce", "applied")
    (kept,) = rows(system, "SELECT * FROM email_events WHERE user_id = %s", anna.sub)
    assert (kept["address_key"], kept["event_type"]) == (address_key(ADDRESS), "Bounce")

    asked = json.dumps({"action": "suppressed", "address": ADDRESS})
    answer = system.client("lambda").invoke(FunctionName="magpie-EmailEvents", Payload=asked)
    (entry,) = json.load(answer["Payload"])["addresses"]
    assert entry["reason"] == "bounce"


def test_what_somebody_else_has_signed_is_refused(system: Running) -> None:
    forged = sns.signed(sns.notification(ses_events.bounce()))
    answer = system.request("POST", "/webhooks/sns", body=json.dumps(forged))
    assert (answer.status, answer.json()) == (400, {"received": False})
