"""`python -m hiper` is the command `hiper`."""

from __future__ import annotations

import sys

from hiper.cli.main import main

sys.argv[0] = "hiper"  # manifests and locks name the command, not this file
sys.exit(main())
