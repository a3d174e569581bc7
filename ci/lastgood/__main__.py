"""`python -m lastgood`."""

from __future__ import annotations

from lastgood.cli import main

raise SystemExit(main())
