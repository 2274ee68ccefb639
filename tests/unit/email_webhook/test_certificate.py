"""The one place where a certificate may be."""

import pytest

from functions.email_webhook import certificate
from shared.incoming import RefusedError

PATH = "/SimpleNotificationService-7ff5318490ec183fbaddaa2a969abfda.pem"


@pytest.mark.parametrize(
    ("region", "suffix", "host"),
    [
        ("us-east-1", "amazonaws.com", "sns.us-east-1.amazonaws.com"),
        ("eu-central-1", "amazonaws.com", "sns.eu-central-1.amazonaws.com"),
        ("us-gov-west-1", "amazonaws.com", "sns.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "amazonaws.com.cn", "sns.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_it_is_on_the_host_of_its_region_and_partition(region: str, suffix: str, host: str) -> None:
    assert certificate.path(f"https://{host}{PATH}", region, suffix) == PATH
    with pytest.raises(RefusedError):
        certificate.path(f"https://{host}{PATH}", "ap-south-1", suffix)


def test_the_amazon_of_another_partition_is_another() -> None:
    with pytest.raises(RefusedError):
        certificate.path(f"https://sns.cn-north-1.amazonaws.com.cn{PATH}", "cn-north-1", "amazonaws.com")
