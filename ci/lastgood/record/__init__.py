"""The release record: one DynamoDB table of releases, builds and deploy locks, outside every stack."""

from __future__ import annotations
