"""A WSGI application on one port of this machine, quiet about what goes well."""

import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

from werkzeug.serving import WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

logger = logging.getLogger("local.serving")


class Server:
    """A threaded server around an application.

    Args:
        listener: a bound socket, which the server takes over.
        name: of its thread.
        handler: what reads requests, when it is not werkzeug's own.

    Attributes:
        url: where it answers.
    """

    def __init__(
        self,
        application: "WSGIApplication",
        listener: socket.socket,
        name: str,
        handler: type[WSGIRequestHandler] = WSGIRequestHandler,
    ) -> None:
        class Handler(handler):  # type: ignore[misc,valid-type]
            disable_nagle_algorithm = True

            def log(self, type: str, message: str, *args: Any) -> None:
                _log(type, message, *args)

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                # Of a request that could not be read there is neither method nor path.
                command, path = getattr(self, "command", "-"), getattr(self, "path", "-")
                logger.debug("%s %s %s %s", name, command, path.split("?")[0], code)

        host, port = listener.getsockname()[:2]
        self.url = f"http://{host}:{port}"
        self._server = make_server(
            host, port, application, threaded=True, request_handler=Handler, fd=listener.fileno()
        )
        self._server.log = _log  # type: ignore[method-assign]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name=name, daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def _log(type: str, message: str, *args: Any) -> None:
    """Take what werkzeug would print: only errors are worth keeping."""
    if type == "error":
        logger.error(message, *args)
