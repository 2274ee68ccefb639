"""The secrets that Stripe signs with: one, or two while they are being rotated."""

import re

from shared import parameters
from shared.incoming import NotConfiguredError

MOST = 2

_SECRET = re.compile(r"whsec_[\x21-\x7e]{8,}")


def read(parameter: str) -> tuple[str, ...]:
    """Return the active secrets.

    Raises:
        MissingParameterError: there is no such parameter.
        NotConfiguredError: it holds what is none: an empty one would let anybody in.
        TransientError: Parameter Store did not answer.
    """
    found = tuple(part.strip() for part in parameters.get(parameter).split(","))
    if len(found) > MOST or not all(_SECRET.fullmatch(part) for part in found):
        raise NotConfiguredError(
            f"The parameter {parameter} must hold one or two signing secrets (whsec_…), separated by a comma."
        )
    return found
