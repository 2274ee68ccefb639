"""`magpie add` against a Magpie that a test can trouble."""

import json
import signal
import stat
from pathlib import Path

BUSY = (503, {"Retry-After": "0"})


def by_name(document):
    return {Path(record["path"]).name: record for record in document["items"]}


def test_a_picture_is_sent_and_seen_through_to_its_end(run, here, magpie, picture):
    path = picture("chelsea.png")

    ran = run("add", str(path), "--json")

    assert ran.code == 0
    assert ran.json["ready"] == 1
    (record,) = ran.json["items"]
    assert record["path"] == str(path)
    assert record["status"] == "ready"
    assert record["item_id"] == magpie.items[0]["item_id"]
    assert magpie.originals[record["item_id"]] == path.read_bytes()
    assert magpie.items[0]["filename"] == "chelsea.png"


def test_a_rejected_file_says_why_and_fails_the_command(run, here, picture):
    ran = run("add", str(picture("good.png")), str(picture("bad.jpg", b"no picture")), "--json")

    assert ran.code == 1
    assert (ran.json["ready"], ran.json["rejected"], ran.json["failed"]) == (1, 1, 0)
    bad = by_name(ran.json)["bad.jpg"]
    assert bad["status"] == "rejected"
    assert bad["code"] == "not_an_image"
    assert bad["message"].endswith(".")


def test_for_people_there_is_a_line_for_each_file(run, here, picture):
    ran = run("add", str(picture("good.png")), str(picture("bad.jpg", b"no picture")))

    good, bad = (line for line in ran.out.splitlines() if "good.png" in line or "bad.jpg" in line)
    assert good.startswith("ready")
    assert bad.startswith("rejected")
    assert "not_an_image: These bytes are not those of a picture." in bad
    assert "2 files: 1 ready, 1 rejected." in ran.err


def test_a_path_that_is_not_there_is_a_record_too_and_the_others_are_sent(run, here, picture, tmp_path):
    ran = run("add", str(tmp_path / "none.png"), str(picture("a.png")), "--json")

    assert ran.code == 1
    assert by_name(ran.json)["none.png"] == {
        "path": str(tmp_path / "none.png"),
        "item_id": None,
        "status": "failed",
        "code": "missing",
        "message": "There is no such file or folder.",
    }
    assert by_name(ran.json)["a.png"]["status"] == "ready"


def test_a_folder_is_sent_with_all_that_is_in_it(run, here, magpie, picture):
    for name in ("b.png", "a/deep/c.png", ".hidden.png", ".git/d.png", "notes.txt"):
        picture(name, b"words" if name.endswith(".txt") else picture("b.png").read_bytes())

    ran = run("add", str(picture("b.png").parent), "--json")

    assert ran.code == 0
    assert [Path(record["path"]).name for record in ran.json["items"]] == ["c.png", "b.png"]
    assert ran.json["skipped"] == 1


def test_many_files_are_each_reported_in_order(run, here, magpie, picture):
    magpie.page = 7
    paths = [str(picture(f"{number:02}.png")) for number in range(25)]

    ran = run("add", *paths, "--json")

    assert ran.code == 0
    assert [record["path"] for record in ran.json["items"]] == paths
    assert ran.json["ready"] == 25
    assert len({record["item_id"] for record in ran.json["items"]}) == 25


def test_nobody_waits_with_no_wait(run, here, magpie, picture):
    magpie.stuck.add("a.png")

    ran = run("add", str(picture("a.png")), "--no-wait", "--json")

    assert ran.code == 0
    assert ran.json["items"][0]["status"] == "pending"
    assert ran.json["waiting"] == 1
    assert magpie.originals


def test_waiting_ends_when_nothing_happens(run, here, magpie, picture):
    magpie.stuck.add("stuck.png")

    ran = run("add", str(picture("stuck.png")), str(picture("a.png")), "--timeout", "0.5", "--json")

    assert ran.code == 1
    stuck = by_name(ran.json)["stuck.png"]
    assert (stuck["status"], stuck["code"]) == ("pending", "still_waiting")
    assert (ran.json["ready"], ran.json["waiting"]) == (1, 1)


def test_a_repeated_request_for_an_item_carries_the_same_key_and_makes_one_item(run, here, magpie, picture):
    magpie.trouble += [
        ("POST", "/items", 503, {"Retry-After": "0"}),
        ("POST", "/items", 429, {"Retry-After": "0"}),
    ]

    ran = run("add", str(picture("a.png")), "--json")

    assert ran.code == 0
    keys = [request.headers["idempotency-key"] for request in magpie.asked("POST", "/items")]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len(magpie.items) == 1


def test_two_files_never_share_a_key(run, here, magpie, picture):
    run("add", str(picture("a.png")), str(picture("b.png")))

    assert len({request.headers["idempotency-key"] for request in magpie.asked("POST", "/items")}) == 2


def test_an_interrupted_upload_is_sent_again_from_its_beginning(run, here, magpie, picture):
    magpie.trouble.append(("POST", "/bucket", 503, {"Retry-After": "0"}))
    path = picture("a.png")

    ran = run("add", str(path), "--json")

    assert ran.code == 0
    assert magpie.originals[ran.json["items"][0]["item_id"]] == path.read_bytes()


def test_what_the_storage_refuses_is_a_failed_record_with_its_item(run, here, magpie, picture):
    magpie.trouble.append(("POST", "/bucket", 403, {}))

    ran = run("add", str(picture("a.png")), "--json")

    assert ran.code == 1
    (record,) = ran.json["items"]
    assert (record["status"], record["code"]) == ("failed", "upload_failed")
    assert record["item_id"] == magpie.items[0]["item_id"]


def test_what_the_api_refuses_is_a_failed_record_with_its_words(run, here, magpie, picture):
    magpie.trouble.append(("POST", "/items", 422, {}))

    ran = run("add", str(picture("a.png")), "--json")

    assert ran.code == 1
    assert ran.json["items"][0]["status"] == "failed"
    assert "as the test wanted" in ran.json["items"][0]["message"]


def test_a_file_that_may_not_be_read_is_a_record(run, here, magpie, picture, tmp_path):
    link = tmp_path / "loop.png"
    link.symlink_to(link)

    ran = run("add", str(link), "--json")

    assert ran.code == 1
    assert ran.json["items"][0]["code"] == "unreadable"


def test_a_pipe_is_never_read(run, here, tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.png")

    ran = run("add", str(tmp_path / "pipe.png"), "--json")

    assert ran.code == 1
    assert ran.json["items"][0]["code"] == "not_a_file"


def test_a_folder_without_pictures_fails_the_command(run, here, tmp_path):
    (tmp_path / "empty").mkdir()

    ran = run("add", str(tmp_path / "empty"), "--json")

    assert ran.code == 1
    assert ran.json["items"][0]["code"] == "no_pictures"


def test_a_name_that_is_no_text_is_sent_and_reported(run, here, magpie, picture):
    path = Path(str(picture("a.png").parent) + "/caf\udce9.png")
    path.write_bytes(picture("a.png").read_bytes())

    ran = run("add", str(path), "--json")

    assert ran.code == 0
    assert magpie.items[0]["filename"] == "caf\N{REPLACEMENT CHARACTER}.png"
    assert ran.json["items"][0]["path"].endswith("caf\N{REPLACEMENT CHARACTER}.png")


def test_a_name_cannot_speak_to_the_terminal(run, here, picture):
    ran = run("add", str(picture("\x1b[2J[red]a\n.png")))

    assert ran.code == 0
    assert "\x1b" not in ran.out
    assert "[red]a .png" in ran.out


def test_an_item_that_is_deleted_meanwhile_ends_the_wait(start, here, magpie, picture, wait_until):
    magpie.stuck.add("a.png")
    process = start("add", str(picture("a.png")), "--json")
    wait_until(lambda: bool(magpie.originals))

    with magpie.lock:
        magpie.items.clear()

    out, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert json.loads(out)["items"][0]["code"] == "gone"


def test_ctrl_c_tells_what_was_sent(start, here, magpie, picture, wait_until):
    magpie.stuck.add("a.png")
    process = start("add", str(picture("a.png")), "--json")
    wait_until(lambda: len(magpie.asked("GET", "/items")) > 2)

    process.send_signal(signal.SIGINT)

    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert json.loads(out)["items"][0]["item_id"] == magpie.items[0]["item_id"]
    assert "Traceback" not in err


def test_the_sign_in_is_kept_for_its_owner_only(run, here, home, picture):
    run("add", str(picture("a.png")))

    (kept,) = (home / "config" / "magpie" / "tokens").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
