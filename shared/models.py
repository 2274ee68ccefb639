"""What all models have in common: each is built when it is needed, and not when its module is imported."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A pydantic model whose validator is built by the first value that it is given.

    The API has more than a hundred models, which together would take a sixth of its start, and a request
    needs a handful of them: https://docs.pydantic.dev/latest/api/config/#pydantic.config.ConfigDict.defer_build
    """

    model_config = ConfigDict(defer_build=True)
