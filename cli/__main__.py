"""`python -m cli`, which is what the `magpie` script at the root runs."""

import sys

try:
    from cli.app import main

    code = main()
except KeyboardInterrupt:
    # While modules were still being read; afterwards `main` answers for it.
    code = 130
# Where Ctrl-C meets code that is made of text, as a dataclass is, Python remembers that for its own end,
# though it was dealt with, and would kill itself by the same signal. It forgets when it runs such code again.
exec("")  # noqa: S102 - nothing
sys.exit(code)
