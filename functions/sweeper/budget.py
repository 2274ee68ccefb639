"""Tell how much of what everybody together may spend on models this month is spent or set aside."""

from aws_lambda_powertools import Logger
from pydantic import Field

from shared import quotas
from shared.settings import Settings

logger = Logger(child=True)

METRIC = "ModelBudgetUsedPercent"
NEARLY = 80.0
"""Percent from which on somebody should think about it; the alarm in template.yaml says the same."""


class MetricsEnv(Settings):
    """Where the template's alarms look for metrics of ours."""

    namespace: str = Field(alias="POWERTOOLS_METRICS_NAMESPACE", min_length=1)


def tell() -> float:
    """Put the percentage into the log, where CloudWatch finds it, and return it.

    Raises:
        TransientError: the database gave up.
    """
    from aws_lambda_powertools.metrics import MetricUnit, single_metric

    budget = quotas.budget()
    # Where there is none, nobody is paid, and nobody is to be woken for it.
    percent = float(100 * budget.used / budget.limit) if budget.limit else 0.0
    with single_metric(METRIC, MetricUnit.Percent, percent, namespace=MetricsEnv.load().namespace):
        pass
    if percent >= NEARLY:
        logger.warning("the budget for models is nearly used up", percent=round(percent, 1))
    return percent
