"""What the roles may do, evaluated: against what is called, what CloudFormation's handlers ask for, and attackers."""

from __future__ import annotations
