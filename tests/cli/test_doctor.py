"""`magpie doctor`."""

import socket

import pytest

from cli import up
from cli.doctor import available_memory, port_taken


@pytest.fixture
def free_ports(monkeypatch):
    """Default ports that nothing else on this machine uses."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = first.getsockname()[1], second.getsockname()[1]
    monkeypatch.setattr(up, "API_PORT", ports[0])
    monkeypatch.setattr(up, "AWS_PORT", ports[1])
    return ports


def checks(ran):
    return {check["name"]: check for check in ran.json["checks"]}


def test_a_sound_machine_is_told_so(run, free_ports, tmp_path):
    ran = run("doctor", "--data", str(tmp_path), "--json")

    assert ran.code == 0, ran.out
    assert ran.json["ok"] is True
    found = checks(ran)
    assert "pgvector" in found["database"]["finding"]
    assert found["template"]["status"] == "ok"
    assert found["running"]["finding"].startswith("No Magpie runs")


def test_a_taken_port_is_wrong_and_can_be_mended(run, free_ports, tmp_path):
    with socket.create_server(("127.0.0.1", free_ports[0])):
        ran = run("doctor", "--data", str(tmp_path), "--json")

    assert ran.code == 1
    assert ran.json["ok"] is False
    assert checks(ran)["API port"]["status"] == "wrong"
    assert "--port" in checks(ran)["API port"]["remedy"]


def test_keys_are_never_shown(run, free_ports, here, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret-1")
    monkeypatch.setenv("VOYAGE_API_KEY", "pa-secret-2")

    for ran in (run("doctor"), run("doctor", "--json")):
        assert "secret" not in ran.out + ran.err
        assert "ANTHROPIC_API_KEY" in ran.out


def test_a_running_magpie_is_asked(run, free_ports, here, magpie):
    assert "answers" in checks(run("doctor", "--json"))["running"]["finding"]


def test_a_magpie_that_is_not_well_is_wrong(run, free_ports, here, magpie):
    magpie.trouble += [("GET", "/health", 503, {"Retry-After": "0"})] * 2

    ran = run("doctor", "--json")

    assert ran.code == 1
    assert checks(ran)["running"]["status"] == "wrong"
    assert str(here / "logs") in checks(ran)["running"]["remedy"]


def test_a_deployment_is_asked_and_the_sign_in_there(run, free_ports, here, magpie, monkeypatch):
    monkeypatch.setenv("MAGPIE_API_URL", magpie.url.replace("127.0.0.1", "localhost"))

    ran = run("doctor", "--json")

    assert ran.code == 1
    assert checks(ran)["deployment"]["status"] == "ok"
    assert checks(ran)["sign-in"]["status"] == "wrong"
    assert "./magpie login" in checks(ran)["sign-in"]["remedy"]


def test_a_folder_that_is_not_there_yet_is_fine(run, free_ports, tmp_path):
    ran = run("doctor", "--data", str(tmp_path / "not" / "yet"), "--json")

    assert checks(ran)["disk"]["status"] == "ok"
    assert not (tmp_path / "not").exists()


def test_a_containers_limit_is_less_than_the_machines_memory(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n")
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)

    assert available_memory(tmp_path) == 8_192_000_000
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("1000\n")
    assert available_memory(tmp_path) == 8_192_000_000
    (group / "memory.max").write_text("500001000\n")
    assert available_memory(tmp_path) == 500_000_000
    assert available_memory(tmp_path / "nowhere") is None


def test_a_port_is_taken_while_something_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port_taken(port)
    assert not port_taken(port)
