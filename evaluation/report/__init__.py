"""The weekly report: what ledger and telemetry say of one week, in one file to read and print."""
