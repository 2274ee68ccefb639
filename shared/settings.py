"""What the template must give a function: its environment as a validated model."""

import os
from functools import cache
from typing import Self

from pydantic import ConfigDict, ValidationError

from shared.errors import MagpieError
from shared.models import Model


class SettingsError(MagpieError):
    """A variable is missing from the environment or has a value that makes no sense."""


class Settings(Model):
    """Base of each handler's `Env`. Fields name their variable by `Field(alias="NAME")`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    @cache
    def load(cls) -> Self:
        """Read the environment, once per class and process.

        Raises:
            SettingsError: names each variable that is missing or wrong, never its value.
        """
        try:
            return cls.model_validate(dict(os.environ))
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise SettingsError(f"{cls.__module__} cannot start: {wrong}") from None
