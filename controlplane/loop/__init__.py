"""The reconcile loop: read what is desired and observed, decide, make one idempotent step, write it down."""
