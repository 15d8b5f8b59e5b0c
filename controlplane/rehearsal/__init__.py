"""Rehearsal: what a policy would do, before it does it; and what another would have done."""
