"""View models: what a page or an API answer says, as plain values that know no transport."""
