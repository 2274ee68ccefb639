"""Who may have an account, as far as their address says."""

import pytest

from functions.pre_sign_up import admission
from shared.triggers import RefusedError

SELF, ADMIN, GOOGLE = "PreSignUp_SignUp", admission.ADMIN, admission.EXTERNAL


@pytest.mark.parametrize(
    ("source", "email", "verified", "allowed"),
    [
        (SELF, "ada@example.com", False, "example.com"),
        (SELF, "Ada@EXAMPLE.com", False, "other.org, Example.Com"),
        (SELF, "ada@anywhere.net", False, "*"),
        (ADMIN, "ada@anywhere.net", False, ""),
        (ADMIN, "ada@anywhere.net", False, "example.com"),
        (GOOGLE, "ada@example.com", True, "example.com"),
    ],
)
def test_is_admitted(source: str, email: str, verified: bool, allowed: str) -> None:
    assert admission.check(source, email, verified, allowed).key


@pytest.mark.parametrize(
    ("source", "email", "verified", "allowed", "sentence"),
    [
        (SELF, "ada@example.com", False, "", "ask for an invitation"),
        (SELF, "ada@example.com", False, " , ", "ask for an invitation"),
        (SELF, "ada@sub.example.com", False, "example.com", "this domain"),
        (SELF, "ada@example.com.evil.org", False, "example.com", "this domain"),
        (SELF, "ada@notexample.com", False, "example.com", "this domain"),
        (SELF, "ada@example.com@evil.org", False, "example.com", "no usable"),
        (SELF, "ada@evil.org,ada@example.com", False, "*", "no usable"),
        (SELF, None, False, "*", "no usable"),
        (ADMIN, "ada", False, "*", "no usable"),
        (GOOGLE, "ada@evil.org", True, "example.com", "this domain"),
        (GOOGLE, "ada@example.com", True, "", "ask for an invitation"),
        (GOOGLE, "ada@example.com", False, "example.com", "not verified"),
    ],
)
def test_is_refused_with_a_sentence(
    source: str, email: str | None, verified: bool, allowed: str, sentence: str
) -> None:
    with pytest.raises(RefusedError, match=sentence) as raised:
        admission.check(source, email, verified, allowed)
    assert not str(raised.value).endswith("."), "Cognito adds one"
