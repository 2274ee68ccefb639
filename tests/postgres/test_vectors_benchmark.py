"""What `python -m benchmarks.vectors` says of the ways to find the nearest vectors can be relied on."""

from benchmarks.vectors import TABLES, WAYS, measure, told


def test_every_way_is_measured_and_what_is_exact_finds_everything(database_url: str) -> None:
    result = measure(database_url, ((1, 120), (1, 60), (2, 30)), 4, lambda _: None)

    assert list(result["found"]) == ["120, easy", "120, hard", "30, easy", "30, hard"]
    for ways in result["found"].values():
        assert list(ways) == list(WAYS)
        assert all(each["calls"] == 4 for each in ways.values())
        for exact in ("ours", "vector"):
            assert (ways[exact]["recall"], ways[exact]["rows"]) == (1.0, 20)

    assert list(result["tables"]) == list(TABLES)
    for each in result["tables"].values():
        assert min(each["insert ms"], each["loaded rows/s"], each["MB"]) > 0
    assert "index built s" in result["tables"]["indexed"]

    said = told(result)
    assert "240 vectors of 4 users" in said
    assert all(f"  {way:20}" in said for way in WAYS)
