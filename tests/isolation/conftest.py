"""How deep the machine of random people goes: `--hypothesis-profile=deep` for minutes instead of seconds."""

from hypothesis import settings

settings.register_profile("deep", max_examples=100, stateful_step_count=50, print_blob=True)
