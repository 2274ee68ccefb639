"""What SES is asked to tell ↔ what is heard of it ↔ what is read; and who may speak to the topic."""

from functions.email_events.feedback import HEARD
from tests.contract.conftest import Document, named
from tests.fakes import ses_events


def words(event_type: str) -> str:
    """CloudFormation's word for an event: `Rendering Failure` is `renderingFailure`."""
    joined = event_type.replace(" ", "")
    return joined[0].lower() + joined[1:]


def test_ses_tells_exactly_what_is_kept(document: Document) -> None:
    told = {
        name: destination["Properties"]["EventDestination"]
        for name, destination in document.of("AWS::SES::ConfigurationSetEventDestination").items()
    }
    assert set(told["MailEvents"]["MatchingEventTypes"]) == {words(event_type) for event_type in HEARD}
    again = set(told["MailEventsByTopic"]["MatchingEventTypes"])
    assert {"bounce", "complaint"} <= again < set(told["MailEvents"]["MatchingEventTypes"])
    for destination in document.of("AWS::SES::ConfigurationSetEventDestination").values():
        assert named(destination["Properties"]["ConfigurationSetName"]) == "MailConfiguration"
        assert destination["Properties"]["EventDestination"]["Enabled"] is True


def test_the_rule_hears_all_of_it_of_our_own_mail_only(document: Document) -> None:
    rule = document.of("AWS::Events::Rule")["MailReportedRule"]["Properties"]
    assert "EventBusName" not in rule, "SES knows the default bus only"
    assert set(rule["EventPattern"]["detail-type"]) == {ses_events.DETAIL_TYPES[kind] for kind in HEARD}
    (configuration,) = rule["EventPattern"]["detail"]["mail"]["tags"]["ses:configuration-set"]
    assert named(configuration) == "MailConfiguration"


def test_topics_that_post_sign_by_the_version_that_is_taken(document: Document) -> None:
    posting = [
        subscription["Properties"]
        for subscription in document.of("AWS::SNS::Subscription").values()
        if subscription["Properties"]["Protocol"] == "https"
    ]
    assert posting
    for subscription in posting:
        topic = document.of("AWS::SNS::Topic")[named(subscription["TopicArn"])]
        assert topic["Properties"]["SignatureVersion"] == "2"
        retries = subscription["DeliveryPolicy"]["healthyRetryPolicy"]
        # The time that all tries take together is limited to an hour.
        assert retries["numRetries"] * (retries["minDelayTarget"] + retries["maxDelayTarget"]) / 2 < 3600


def test_nobody_but_ses_and_alarms_speaks_to_a_topic(document: Document) -> None:
    policies = {
        named(policy["Properties"]["Topics"][0]): policy["Properties"]["PolicyDocument"]["Statement"]
        for policy in document.of("AWS::SNS::TopicPolicy").values()
    }
    assert set(policies) == set(document.of("AWS::SNS::Topic"))
    services = {"MailTopic": "ses.amazonaws.com", "AlarmTopic": "cloudwatch.amazonaws.com"}
    for topic, (allow, deny) in policies.items():
        assert allow["Principal"] == {"Service": services[topic]}
        assert allow["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
        assert named(allow["Resource"]) == named(deny["Resource"]) == topic
        assert (deny["Effect"], deny["Principal"]) == ("Deny", "*")
        assert deny["Condition"] == {"Bool": {"aws:SecureTransport": False}}
