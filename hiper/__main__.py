"""`python -m hiper` is the command `hiper`."""

from __future__ import annotations

import sys

from hiper.cli.main import main

sys.exit(main())
