"""Where MLflow shows the runs of a study: its own first page leads to other things."""

from __future__ import annotations

from urllib.parse import quote

from dstcl.tracking.database import (
    EXPERIMENTS,
    check_server,
    connect,
    tracking_errors,
    tracking_uri,
)


def links(address: str, uri: str | None = None) -> dict[str, str]:
    """The page with the runs of each preset that was tracked, by preset.

    Args:
        address: of the pages, as ``http://127.0.0.1:5000``.
        uri: MLflow tracking URI; default ``MLFLOW_TRACKING_URI``, else ``sqlite:///mlflow.db``.

    Raises:
        TrackingError: MLflow cannot be reached or refuses.
    """
    uri = tracking_uri(uri)
    check_server(uri)
    with tracking_errors(uri):
        found = connect(uri).search_experiments(
            filter_string=f"name LIKE '{EXPERIMENTS}%'", order_by=["name ASC"]
        )
        return {
            experiment.name.removeprefix(EXPERIMENTS): page(address, experiment.experiment_id)
            for experiment in found
        }


def page(address: str, experiment: str) -> str:
    """The list of an experiment's runs; without the last word MLflow shows traces instead."""
    root = address.rstrip("/")
    return f"{root}/#/experiments/{quote(experiment)}/runs?workflowType=machine_learning"
