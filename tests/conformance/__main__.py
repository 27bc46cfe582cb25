"""`python -m tests.conformance`: checks every architecture and writes the table."""

import sys

from .run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
