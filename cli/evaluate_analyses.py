"""`magpie eval-analyses`: how well models describe items of which people reviewed the description."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import ApiUrl, Data, Json


def evaluate_analyses(
    golden: Annotated[
        Path,
        typer.Argument(metavar="GOLDEN.json", help="Reviewed analyses.", show_default=False, dir_okay=False),
    ],
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a page.", show_default=False, dir_okay=False),
    ] = None,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
) -> int:
    """Compare what models said of items with what they should have said, field by field.

    For each provider and model its newest analysis of each item counts. docs/evaluate.md says how
    a review is written and how fields are compared. Exits 1 when a reviewed item is not there, or no
    model has described it.
    """
    from cli.connect import connect
    from cli.evaluating import models, page, reviewed
    from cli.output import Output

    out = Output(json)
    if html is not None:
        page.refuse_other(html)
    review = reviewed.read(golden)
    with connect(data, api_url) as api:
        document = models.document(review, models.stored_analyses(api, review.items))
        document = {**document, "review": str(golden), "api_url": api.target.api_url}
    if html is not None:
        page.write(html, page.analyses(document))
    if json:
        out.document(document)
    else:
        models.show(out, document)
    if html is not None:
        out.note(f"Written: {html.absolute()}")
    return 1 if document["missing_items"] or document["undescribed_items"] else 0
