"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else, on stdout.")]

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Data folder of the Magpie on this machine. Default: MAGPIE_DATA, else the project's .magpie.",
        show_default=False,
        file_okay=False,
    ),
]

ApiUrl = Annotated[
    str | None,
    typer.Option(
        "--api-url",
        help="Address of another Magpie, such as a deployment. Default: MAGPIE_API_URL.",
        show_default=False,
    ),
]
