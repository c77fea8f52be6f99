"""The entry point of `python -m pipeline`."""

import sys

from pipeline.command_line import main

if __name__ == "__main__":
    sys.exit(main())
