"""How the API's client behaves when the other side does not."""

import socket
import threading

import pytest

from cli.client import ATTEMPTS, LONGEST_WAIT, Api, ApiError, UnreachableError
from cli.errors import CommandError
from cli.target import Target


class Token:
    """A session whose token is always the same."""

    def __init__(self, token: str) -> None:
        self.token = token

    def access_token(self) -> str:
        return self.token

    def another_token(self, refused: str) -> str | None:
        return self.token


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def api(magpie, home, pauses):
    with Api(Target(magpie.url), Token(magpie.token()), pause=pauses.append) as api:
        yield api


def test_the_server_says_how_long_to_wait(api, magpie, pauses):
    magpie.trouble += [
        ("GET", "/items", 429, {"Retry-After": "3"}),
        ("GET", "/items", 503, {"Retry-After": "9999"}),
    ]

    api.items()

    assert pauses == [3, LONGEST_WAIT]


def test_waits_grow_when_the_server_says_nothing(api, magpie, pauses):
    magpie.trouble += [("GET", "/items", 503, {"Retry-After": "soon"})] * (ATTEMPTS - 1)

    api.items()

    assert len(pauses) == ATTEMPTS - 1
    assert all(0 <= pause <= min(0.5 * 2**number, LONGEST_WAIT) for number, pause in enumerate(pauses))


def test_trouble_that_does_not_pass_ends_in_one_error(api, magpie, pauses):
    magpie.trouble += [("GET", "/items", 503, {})] * ATTEMPTS

    with pytest.raises(UnreachableError) as raised:
        api.items()

    assert raised.value.code == "busy"
    assert len(pauses) == ATTEMPTS - 1


def test_what_does_not_fit_into_a_plan_is_not_asked_again(api, magpie, pauses):
    sentence = "You have 2 of 2 items, and one more does not fit."
    problem = {"type": "urn:problem-type:magpie:over-quota", "status": 429, "detail": sentence}
    magpie.answers["POST", "/items"] = lambda request: (429, problem)

    with pytest.raises(ApiError) as raised:
        api.new_item("a.png", 5, "key")

    assert (raised.value.code, raised.value.message, raised.value.status) == ("over_quota", sentence, 429)
    assert pauses == []
    assert len(magpie.asked("POST", "/items")) == 1


def test_what_does_not_pass_is_not_asked_again(api, magpie, pauses):
    magpie.trouble += [("GET", "/items", 500, {})]

    with pytest.raises(ApiError) as raised:
        api.items()

    assert (raised.value.code, raised.value.status) == ("server_error", 500)
    assert pauses == []


def test_nothing_there_is_told_at_once(home, pauses):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

        with Api(Target(url), pause=pauses.append) as api, pytest.raises(CommandError) as raised:
            api.version()

    assert raised.value.code == "unreachable"
    assert url in raised.value.message
    assert pauses == []


def test_a_connection_that_breaks_is_made_again(home, pauses):
    """A server that hangs up on the first caller and answers the second."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for number in range(2):
            connection, _ = listener.accept()
            connection.recv(65536)
            if number:
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\nConnection: close\r\n\r\n"
                    + b'{"version": "1"}'
                )
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    with Api(Target(f"http://127.0.0.1:{listener.getsockname()[1]}"), pause=pauses.append) as api:
        assert api.version() == {"version": "1"}
    thread.join()
    listener.close()
    assert len(pauses) == 1


def test_no_proxy_comes_between_this_machine_and_itself(magpie, home, monkeypatch, pauses):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    with Api(Target(magpie.url), pause=pauses.append) as api:
        assert api.health()["status"] == "ok"


def test_an_upload_is_read_piece_by_piece(api, magpie, picture, tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(b"\x89PNG" + b"\0" * 3_000_000)
    sizes = []

    class Watched:
        """A file that notes how much is asked of it at once."""

        def __init__(self) -> None:
            self.file = path.open("rb")

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

        def read(self, size: int = -1) -> bytes:
            sizes.append(size)
            return self.file.read(size)

    created = api.new_item("large.png", path.stat().st_size, "key-1")
    watched = Watched()
    api.upload(created["upload"], watched)
    watched.file.close()

    assert magpie.originals[created["item_id"]] == path.read_bytes()
    assert 0 < max(sizes) <= 1 << 20
    assert min(sizes) > 0


def test_an_upload_follows_its_bucket_to_another_region(api, magpie, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG" + b"\0" * 200_000)
    created = api.new_item("a.png", 1, "key-1")
    upload = created["upload"] | {"url": f"{magpie.url}/young-bucket"}

    with path.open("rb") as file:
        api.upload(upload, file)

    assert magpie.originals[created["item_id"]] == path.read_bytes()


def test_storage_says_that_a_file_is_too_large_or_empty(api, magpie, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    created = api.new_item("a.png", 1, "key-1")

    for answer, code in (
        ("EntityTooLarge", "too_large"),
        ("EntityTooSmall", "empty"),
        ("AccessDenied", "upload_failed"),
    ):
        magpie.storage_error = answer
        with path.open("rb") as file, pytest.raises(CommandError) as raised:
            api.upload(created["upload"], file)
        assert raised.value.code == code


def test_what_the_api_says_of_fields_is_passed_on(api, magpie):
    magpie.problem = {
        "type": "urn:problem-type:magpie:invalid-input",
        "title": "Something in the request is not as it should be",
        "detail": "See `errors` for each field.",
        "errors": [{"field": "filename", "message": "too long"}],
    }

    with pytest.raises(ApiError) as raised:
        api.items()

    assert raised.value.code == "invalid_input"
    assert "filename: too long" in raised.value.message


def test_a_refusal_without_words_has_a_code_all_the_same(api, magpie):
    magpie.problem = "<html>"

    with pytest.raises(ApiError) as raised:
        api.items()

    assert raised.value.code == "refused"
