"""`python -m cli`, which is what the `magpie` script at the root runs."""

import sys

try:
    from cli.app import main

    code = main()
except KeyboardInterrupt:
    # While modules were still being read; afterwards `main` answers for it.
    code = 130
sys.exit(code)
