"""`python -m tests.conformance`: checks every architecture and writes the table."""

import sys
from pathlib import Path

# Under the name by which the tests import it, too.
sys.path.insert(0, str(Path(__file__).parents[1]))

from conformance.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
