"""`python -m h2gate`."""

import sys

from h2gate.cli.main import main

sys.exit(main())
