"""Decide whether an address may become an account, before anybody looks whether it is one already."""

from shared import addresses
from shared.addresses import Address, AddressError
from shared.triggers import RefusedError

ADMIN = "PreSignUp_AdminCreateUser"
EXTERNAL = "PreSignUp_ExternalProvider"
ANYBODY = "*"


def check(source: str, email: str | None, verified: bool, allowed: str) -> Address:
    """Return the mailbox of somebody who may have an account, as far as their address says.

    Args:
        source: who makes the account: the person, an administrator, or an external provider at the
            person's first sign-in.
        verified: whether an external provider says that the address is the person's.
        allowed: domains with commas between them; `*` is all of them, nothing is none.

    Raises:
        RefusedError: no address, not one of the allowed domains, or not proved.
    """
    try:
        address = addresses.read(email or "")
    except AddressError as error:
        raise RefusedError("This is no usable e-mail address") from error
    if source == ADMIN:
        return address  # an administrator knows whom they invite
    domains = {domain.strip().lower() for domain in allowed.split(",")} - {""}
    if not domains:
        raise RefusedError("Nobody can sign up here by themselves, please ask for an invitation")
    if ANYBODY not in domains and address.domain not in domains:
        raise RefusedError("Addresses of this domain cannot sign up here")
    if source == EXTERNAL and not verified:
        raise RefusedError("The provider has not verified your e-mail address")
    return address
