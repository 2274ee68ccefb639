"""Tokens of Project Wycheproof, checked by what checks the gateway's: whatever is not valid is refused.

The file holds 111 of its 401 vectors: damage to tokens, base64url and ECDSA signatures, wrong algorithms and
keys, and some RSA signatures with a damaged PKCS #1 padding. Left out is more of the last kind, made anew
below by rule over a key of our own, and more signatures by another algorithm than the key's, which
test_tokens.py has.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from local.tokens import Key, UnauthorizedError, read_key, verify

FILE = Path(__file__).parent / "data" / "wycheproof_jws.json"
ALGORITHMS = ("HS256", "ES256", "RS256", "PS256")
MISTAKEN = {
    367: "is, letter by letter, the valid token 357: the padding that it was about is not in the file",
    370: "as 367",
}
LENIENT = {
    372: "holds a question mark, which some libraries pass over; RFC 7515 knows no such character",
    373: "as 372",
}


def vectors() -> list[Any]:
    groups = json.loads(FILE.read_text())["groups"]
    found = [(group["key"], test) for group in groups for test in group["tests"]]
    return [pytest.param(key, test, id=f"{test['tcId']}-{test['comment']}") for key, test in found]


def check(token: str, key: Key | None) -> bytes:
    return verify(token, lambda _: key, ALGORITHMS)


@pytest.mark.parametrize(("key", "test"), vectors())
def test_what_is_not_valid_is_refused(key: dict[str, Any], test: dict[str, Any]) -> None:
    valid = test["result"] == "valid" if test["tcId"] not in MISTAKEN else True
    if valid and test["tcId"] not in LENIENT:
        assert check(test["jws"], read_key(key))
    else:
        with pytest.raises(UnauthorizedError):
            check(test["jws"], read_key(key))


def test_the_mistaken_vectors_are_what_they_are_said_to_be() -> None:
    by_number = {param.values[1]["tcId"]: param.values[1] for param in vectors()}
    assert len(by_number) == 111
    for number in MISTAKEN:
        assert by_number[number]["result"] == "invalid"
        assert by_number[number]["jws"] == by_number[357]["jws"]
        assert by_number[357]["result"] == "valid"


OURS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
HEADER = base64.urlsafe_b64encode(b'{"alg":"RS256","kid":"ours"}').rstrip(b"=").decode()
SAID = f"{HEADER}.Zm9v"
DIGEST = hashlib.sha256(SAID.encode()).digest()
OID = bytes.fromhex("0609608648016503040201")
"""SHA-256."""
INFO = bytes.fromhex("3031300d") + OID + bytes.fromhex("05000420") + DIGEST
"""What a signature has to hold, after the padding: RFC 8017, 9.2."""


def token(block: bytes) -> str:
    """A token whose signature holds a block, whatever it is: the private key alone, without padding."""
    numbers, value = OURS.private_numbers(), int.from_bytes(block, "big")
    # By the remainders of both primes, as everybody does: it takes a quarter of the time.
    by_p, by_q = pow(value, numbers.dmp1, numbers.p), pow(value, numbers.dmq1, numbers.q)
    signature = by_q + (by_p - by_q) * numbers.iqmp % numbers.p * numbers.q
    return f"{SAID}.{base64.urlsafe_b64encode(signature.to_bytes(256, 'big')).rstrip(b'=').decode()}"


def padded(info: bytes) -> bytes:
    return b"\x00\x01" + b"\xff" * (253 - len(info)) + b"\x00" + info


def damaged() -> dict[str, bytes]:
    right = padded(INFO)
    places = [0, 1, 2, 3, 100, *range(202, 226), 240, 255]
    found = {f"byte {n} is another": right[:n] + bytes([right[n] ^ 1]) + right[n + 1 :] for n in places}
    algorithm, null, octets = bytes.fromhex("300d") + OID, b"\x05\x00", b"\x04\x20" + DIGEST
    found |= {
        name: padded(info)
        for name, info in {
            "no parameters": b"\x30\x2f\x30\x0b" + OID + octets,
            "long length of the sequence": b"\x30\x81\x31" + INFO[2:],
            "leading zero in the length of the sequence": b"\x30\x82\x00\x31" + INFO[2:],
            "indefinite length": b"\x30\x80" + INFO[2:] + b"\x00\x00",
            "long length of the digest": b"\x30\x32" + algorithm + null + b"\x04\x81\x20" + DIGEST,
            "null twice": b"\x30\x33\x30\x0f" + OID + null + null + octets,
            "null after the digest": b"\x30\x33" + algorithm + null + octets + null,
            "garbage after the digest": INFO + b"\xde\xad\xbe\xef",
            "garbage within": b"\x30\x35" + algorithm + null + octets + b"\xde\xad\xbe\xef",
            "the digest alone": DIGEST,
            "half of the digest": bytes.fromhex("3021300d") + OID + null + b"\x04\x10" + DIGEST[:16],
            "nothing": b"",
            "SHA-1 is said": bytes.fromhex("3029300906052b0e03021a0500") + octets,
            "SHA-384 is said": bytes.fromhex("3031300d060960864801650304020205000420") + DIGEST,
            "the digest of another text": INFO[:-32] + hashlib.sha256(b"another").digest(),
        }.items()
    }
    found |= {
        "short padding, and garbage behind": b"\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\x00"
        + INFO
        + b"\x00" * (245 - len(INFO)),
        "padding of type 2": b"\x00\x02" + right[2:],
        "padding of type 0": b"\x00\x00" + b"\x00" * (253 - len(INFO)) + b"\x00" + INFO,
        "no separator": b"\x00\x01" + b"\xff" * (254 - len(INFO)) + INFO,
        "one": (1).to_bytes(256, "big"),
        "zero": bytes(256),
    }
    return found


def test_our_own_padding_is_the_right_one() -> None:
    assert check(token(padded(INFO)), Key("RS256", OURS.public_key())) == b"foo"


def test_a_signature_with_any_other_padding_is_refused() -> None:
    blocks = damaged()
    assert len(blocks) > 50
    passed = []
    for name, block in blocks.items():
        try:
            check(token(block), Key("RS256", OURS.public_key()))
        except UnauthorizedError:
            continue
        passed.append(name)
    assert passed == []


def test_a_signature_that_is_too_large_or_of_another_length_is_refused() -> None:
    good = token(padded(INFO)).rpartition(".")[2]
    number = int.from_bytes(base64.urlsafe_b64decode(good + "=="), "big")
    modulus = OURS.public_key().public_numbers().n
    for value, size in ((number + modulus, 257), (number, 257), (modulus, 256), (modulus - 1, 256), (0, 0)):
        text = base64.urlsafe_b64encode(value.to_bytes(size, "big") if size else b"").rstrip(b"=").decode()
        with pytest.raises(UnauthorizedError):
            check(f"{SAID}.{text}", Key("RS256", OURS.public_key()))
