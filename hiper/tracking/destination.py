"""Where an experiment's MLflow records go: to the server named by `MLFLOW_TRACKING_URI`, else to a database of its own.

Nothing here reaches the network. Credentials leave the address at once and go the way MLflow provides for them, so that
no message of MLflow, requests or urllib3 can repeat them.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from hiper.errors import UserError
from hiper.records import without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient

ADDRESS, USER, PASSWORD = "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
SECRETS = (PASSWORD, "MLFLOW_TRACKING_TOKEN")
FORM = f"{ADDRESS} must be http[s]://[USER:PASSWORD@]HOST[:PORT][/PATH]; without it MLflow's database is a local file"
# MLflow's own defaults wait for minutes: 120 s a request, seven times. These hold where the user has set none.
BOUNDS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",  # seconds to connect, and between two pieces of an answer
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
MESSAGE_CHARACTERS = 400


def server() -> str | None:
    """The tracking server's address without credentials, None when there is none; UserError for any other address."""
    address = os.environ.get(ADDRESS, "").strip()
    if not address:
        return None
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises on a port that is no number
    except ValueError:
        raise UserError(f"{FORM}; this one cannot be read") from None
    if parts.scheme not in ("http", "https"):
        raise UserError(f"{FORM}; this one {f'begins with `{parts.scheme}:`' if parts.scheme else 'has no scheme'}")
    if not parts.hostname or parts.query or parts.fragment:
        raise UserError(f"{FORM}; this one has {'more than that' if parts.hostname else 'no host'}")
    return _without_credentials(parts)


def _without_credentials(parts: SplitResult) -> str:
    """Hand user and password on in MLflow's own variables, for this process alone; the address without them."""
    credentials, at, host = parts.netloc.rpartition("@")
    if at:
        user, _, password = credentials.partition(":")
        if not (user and password):
            raise UserError(f"{FORM}; a user needs a password (a token of its own goes into MLFLOW_TRACKING_TOKEN)")
        os.environ[USER], os.environ[PASSWORD] = unquote(user), unquote(password)
    address = f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
    os.environ[ADDRESS] = address  # some of MLflow's artifact stores read it again
    return address


def message_of(error: BaseException) -> str:
    """What MLflow or a library below it says, on one line, cut to a readable length, without credentials."""
    text = without_credentials(" ".join(str(error).split())) or type(error).__name__
    for name in SECRETS:
        if secret := os.environ.get(name):
            text = text.replace(secret, "***")
    return text if len(text) <= MESSAGE_CHARACTERS else f"{text[:MESSAGE_CHARACTERS]}…"


def client_class() -> type[MlflowClient]:
    """MLflow's client, told not to wait for long and to leave the reporting of errors to us. The import takes seconds,
    on a busy machine many: nobody should hold a lock meanwhile."""
    for name, value in BOUNDS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for logger in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    return MlflowClient
